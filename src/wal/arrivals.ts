/**
 * When which segments arrived, roughly, in a bounded number of entries: the older, the coarser. A
 * window of time asks it where to begin, and is given rather too much than too little.
 *
 * Times are in milliseconds of a clock that never goes back, whichever the caller has.
 */
export interface Arrivals {
  /** The highest number so far, and a time at or before its arrival. */
  readonly newest: { readonly number: number; readonly atMs: number } | undefined;
  /** Ascending in time. */
  readonly entries: readonly ArrivalEntry[];
}

/** Segments that arrived one after the other. */
export interface ArrivalEntry {
  /** At or after the last of their arrivals. */
  readonly atMs: number;
  readonly lowest: number;
  readonly highest: number;
}

export const NO_ARRIVALS: Arrivals = { newest: undefined, entries: [] };

/** An entry may stretch over a 32nd of its age: so much longer may a window keep than it should. */
const PARTS_OF_AGE = 32;

/** Takes note of a segment that has just arrived. */
export function withArrival(arrivals: Arrivals, number: number, nowMs: number): Arrivals {
  return withArrivals(arrivals, { lowest: number, highest: number, sinceMs: nowMs, nowMs });
}

/** Takes note of segments that arrived at some time between `sinceMs` and now. */
export function withArrivals(
  arrivals: Arrivals,
  found: { lowest: number; highest: number; sinceMs: number; nowMs: number },
): Arrivals {
  const { newest, entries } = arrivals;
  const { lowest, highest, sinceMs, nowMs } = found;
  const isNewest = newest === undefined || highest > newest.number;
  return {
    newest: isNewest ? { number: highest, atMs: sinceMs } : newest,
    entries: thinned([...entries, { atMs: nowMs, lowest, highest }], nowMs),
  };
}

/** Forgets what arrived only below `oldest`, the oldest segment that is still archived. */
export function withoutPruned(arrivals: Arrivals, oldest: number): Arrivals {
  return { ...arrivals, entries: arrivals.entries.filter(({ highest }) => highest >= oldest) };
}

/**
 * The lowest number that arrived within `keepMs` before the newest segment did. `undefined` when
 * nothing is known to have arrived.
 */
export function timeWindowStart({ newest, entries }: Arrivals, keepMs: number): number | undefined {
  if (newest === undefined) return undefined;
  let start = newest.number;
  for (const { atMs, lowest } of entries) {
    if (atMs >= newest.atMs - keepMs) start = Math.min(start, lowest);
  }
  return start;
}

/** Joins neighbours that together are short enough for their age. */
function thinned(entries: readonly ArrivalEntry[], nowMs: number): ArrivalEntry[] {
  const kept: ArrivalEntry[] = [];
  for (const entry of entries) {
    const [beforeMs, last] = [kept.at(-2)?.atMs, kept.at(-1)];
    const ageMs = nowMs - entry.atMs;
    const isShort = beforeMs !== undefined && entry.atMs - beforeMs <= ageMs / PARTS_OF_AGE;
    if (last === undefined || !isShort) kept.push(entry);
    else kept[kept.length - 1] = joined(last, entry);
  }
  return kept;
}

function joined(one: ArrivalEntry, other: ArrivalEntry): ArrivalEntry {
  return {
    atMs: other.atMs,
    lowest: Math.min(one.lowest, other.lowest),
    highest: Math.max(one.highest, other.highest),
  };
}
