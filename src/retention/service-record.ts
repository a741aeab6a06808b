/** The time of service and the arrivals measured in it, as they are written down. */
import type { ArrivalEntry, Arrivals } from "../wal/arrivals.ts";
import { isServedMs } from "./service-time.ts";
import type { Fields } from "./state-object.ts";

export interface ServiceRecord {
  readonly servedMs: number;
  /** When the last prune ended. */
  readonly prunedMs: number;
  readonly arrivals: Arrivals;
}

export function serviceFields({ servedMs, prunedMs, arrivals }: ServiceRecord): Fields {
  const { newest, entries } = arrivals;
  return {
    servedMs: Math.floor(servedMs),
    prunedMs: Math.floor(prunedMs),
    // To whole milliseconds, on the safe side. Short, because there may be hundreds.
    newest: newest === undefined ? null : [Math.floor(newest.atMs), newest.number],
    arrivals: entries.map(({ atMs, lowest, highest }) => [Math.ceil(atMs), lowest, highest]),
  };
}

export function parseService(fields: Fields): ServiceRecord | undefined {
  const { servedMs, prunedMs, newest, arrivals } = fields;
  if (!isServedMs(servedMs) || !isServedMs(prunedMs) || !Array.isArray(arrivals)) return undefined;
  const entries = arrivals.map(parseEntry);
  if (!entries.every((entry) => entry !== undefined)) return undefined;
  if (newest === null) return { servedMs, prunedMs, arrivals: { newest: undefined, entries } };
  const [atMs, number] = numbersOf(newest, 2) ?? [];
  if (!isServedMs(atMs) || number === undefined) return undefined;
  return { servedMs, prunedMs, arrivals: { newest: { atMs, number }, entries } };
}

function parseEntry(value: unknown): ArrivalEntry | undefined {
  const [atMs, lowest, highest] = numbersOf(value, 3) ?? [];
  if (!isServedMs(atMs) || lowest === undefined || highest === undefined) return undefined;
  return { atMs, lowest, highest };
}

function numbersOf(value: unknown, length: number): number[] | undefined {
  const isList = Array.isArray(value) && value.length === length && value.every(isNumber);
  return isList ? value : undefined;
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
