/** What is remembered of a standby, and which restart points are believed. */
import { WalarcError } from "../errors.ts";
import type { Catalog } from "../wal/catalog.ts";
import { type PlacedName, parseWalName } from "../wal/name.ts";
import { segmentNumber } from "../wal/segment.ts";
import { endsOf } from "../wal/window.ts";
import { isServedMs } from "./service-time.ts";
import type { Fields } from "./state-object.ts";

/** Who told: the standby itself, by `walarc cleanup`, or its answer to the daemon's question. */
export type ReportSource = "report" | "sql";

export interface StandbyRecord {
  /** The oldest segment it needs; `undefined` for a server that has only been seen as a primary. */
  readonly restartPoint: PlacedName | undefined;
  /** ISO 8601, for people. */
  readonly reportedAt: string;
  /** In the time of service, for decisions. */
  readonly heardMs: number;
  readonly source: ReportSource;
  /** A primary needs no archive to restart, so it claims nothing. */
  readonly role: "standby" | "primary";
}

/** A standby's restart point may be so far ahead of the archive, which lags behind streaming. */
const SEGMENTS_AHEAD_MAX = 64;

export function standbyFields(record: StandbyRecord): Fields {
  return { ...record, restartPoint: record.restartPoint?.text ?? null };
}

export function parseStandby(fields: Fields): StandbyRecord | undefined {
  const { restartPoint, reportedAt, heardMs, source, role } = fields;
  const name = typeof restartPoint === "string" ? parseWalName(restartPoint) : undefined;
  if (name === undefined ? restartPoint !== null || role !== "primary" : name.kind !== "segment") {
    return undefined;
  }
  if (typeof reportedAt !== "string" || Number.isNaN(Date.parse(reportedAt))) return undefined;
  if (!isServedMs(heardMs)) return undefined;
  if (source !== "report" && source !== "sql") return undefined;
  if (role !== "standby" && role !== "primary") return undefined;
  return { restartPoint: name as PlacedName | undefined, reportedAt, heardMs, source, role };
}

/** What is worth a line in the log about a report, after what was known before. */
export function newsIn(
  earlier: StandbyRecord | "damaged" | undefined,
  name: PlacedName,
): { readonly message: string; readonly fields: object } | undefined {
  const fields = { restartPoint: name.text };
  if (earlier === undefined) return { message: "standby heard from for the first time", fields };
  if (earlier === "damaged" || earlier.restartPoint === undefined) {
    return { message: "standby heard from again", fields };
  }
  if (name.position >= earlier.restartPoint.position) return undefined;
  const from = earlier.restartPoint.text;
  return { message: "restart point moved back", fields: { ...fields, from } };
}

/**
 * The restart point that counts for a reported one: the same, or the newest archived segment for
 * one that is a little ahead of it. Throws `rejected` for what no standby of this archive can mean.
 */
export function requireRestartPoint(catalog: Catalog, text: string): PlacedName {
  if (/^0{24}$/.test(text)) {
    throw rejected("the restart point is all zeros", {
      hint: "PostgreSQL says so when it does not know yet which WAL it needs: report again later",
    });
  }
  const name = requireSegment(catalog, text, "restart point");
  const [newest, ends] = [parseWalName(catalog.latest() ?? ""), endsOf(catalog)];
  if (newest?.kind !== "segment" || ends === undefined) {
    throw rejected(`restart point ${text} cannot be compared: no segment is archived yet`, {
      hint: "does the primary archive into this cluster?",
    });
  }
  const ahead = numberOf(catalog, name) - ends.newest;
  if (ahead > SEGMENTS_AHEAD_MAX) {
    throw rejected(
      `restart point ${text} is ${ahead} segments ahead of the newest archived one, ${newest.text}`,
      { hint: "is it a standby of this cluster, and does its primary archive here?" },
    );
  }
  return ahead > 0 ? newest : name;
}

/** Whether a restart point lies behind all that is archived, as far as the catalog knows. */
export function isAhead(catalog: Catalog, text: string): boolean {
  const newest = catalog.latest();
  return newest === undefined || text.slice(8) > newest.slice(8);
}

/** The named segment; throws `rejected` when the text names none that this cluster can have. */
export function requireSegment(catalog: Catalog, text: string, what: string): PlacedName {
  const name = parseWalName(text);
  if (name?.kind !== "segment") {
    const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
    throw rejected(`${what} ${shown} is not the name of a segment`, {
      hint: "it has 24 upper-case hexadecimal digits",
    });
  }
  const size = catalog.segmentSizeBytes;
  if (size !== undefined && segmentNumber(name, size) === undefined) {
    throw rejected(`${what} ${text} cannot be: this cluster's segments have ${size} bytes`);
  }
  return name;
}

function numberOf(catalog: Catalog, name: PlacedName): number {
  return segmentNumber(name, catalog.segmentSizeBytes ?? 0) ?? 0;
}

function rejected(message: string, options: { hint?: string } = {}): WalarcError {
  return new WalarcError("rejected", message, options);
}
