/** Pushes that are under way, for whoever asks for the file in that moment. */
import { setTimeout as delay } from "node:timers/promises";
import { isFailure } from "../errors.ts";
import { abortable } from "../lifecycle.ts";
import type { Signalled } from "../store/store.ts";
import type { Catalog } from "../wal/catalog.ts";
import type { WalName } from "../wal/name.ts";
import { segmentNumber } from "../wal/segment.ts";

/** So long a fetch waits for a push of what it misses; then it is told what there is. */
const WAIT_MS_MAX = 5000;

export class UnderWay {
  readonly #pushes = new Map<string, Set<Promise<unknown>>>();

  /** The same promise, known as a push of the file until it is settled. */
  async add<T>(name: WalName, push: Promise<T>): Promise<T> {
    const all = this.#pushes.get(name.text) ?? new Set();
    this.#pushes.set(name.text, all.add(push));
    try {
      return await push;
    } finally {
      all.delete(push);
      if (all.size === 0) this.#pushes.delete(name.text);
    }
  }

  of(name: WalName): Promise<unknown>[] {
    return [...(this.#pushes.get(name.text) ?? [])];
  }
}

/**
 * Runs a fetch. Where it misses a file that is just being pushed, it waits a while for the end of
 * that and fetches again: segments are archived side by side, and on the word "gap" a recovery
 * stops that would have had the file a moment later.
 *
 * @param pushes - those of the file that are under way now
 */
export async function fetchAfterPushes<T>(
  pushes: () => readonly Promise<unknown>[],
  fetch: () => Promise<T>,
  { signal }: Signalled,
): Promise<T> {
  // Asked first as well: one may end between our look into the store and its answer.
  const before = pushes();
  try {
    return await fetch();
  } catch (error) {
    const awaited = [...before, ...pushes()];
    const isMiss = isFailure(error, "absent") || isFailure(error, "gap");
    if (!isMiss || awaited.length === 0) throw error;
    const enough = delay(WAIT_MS_MAX, undefined, { ref: false });
    await abortable(Promise.race([Promise.allSettled(awaited), enough]), signal);
  }
  return await fetch();
}

/** As many as clients and daemons archive ahead of each other at the most. */
const SIDE_BY_SIDE_MAX = 64;
const LOOK_AGAIN_MS = 500;

/**
 * Runs a fetch, and for a while again where it misses a segment shortly before the newest one:
 * another daemon may have its push under way, or die with it, and the archiver brings it again.
 */
export async function fetchNearEnd<T>(
  isNearEnd: () => boolean,
  fetch: () => Promise<T>,
  { signal, patienceMs }: Signalled & { patienceMs: number },
): Promise<T> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await fetch();
    } catch (error) {
      const isOver = performance.now() >= endMs;
      if (isOver || !isFailure(error, "gap") || !isNearEnd()) throw error;
    }
    await abortable(delay(LOOK_AGAIN_MS, undefined, { ref: false }), signal);
  }
}

/** Whether so few segments follow on the name's timeline that they may have overtaken it. */
export function mayBeOvertaken(catalog: Catalog, name: WalName): boolean {
  const size = catalog.segmentSizeBytes;
  if (name.kind !== "segment" || size === undefined) return false;
  const number = segmentNumber(name, size);
  const ranges = catalog.segmentRanges().find(({ timeline }) => timeline === name.timeline)?.ranges;
  const last = ranges?.at(-1)?.last;
  return number !== undefined && last !== undefined && last - number <= SIDE_BY_SIDE_MAX;
}
