/** How far ahead of a recovery to fetch: as far as it takes never to be waited for. */

/** How much a new observation counts against all before it. */
const WEIGHT = 0.3;
/** Twice what the observed times ask for, since neither is steady. */
const RESERVE = 2;
/** Of unknown speed: the next segment, and one to fetch while that is replayed. */
const AHEAD_MIN = 2;

/** What was observed so far, in milliseconds. */
export interface Pace {
  /** Between two segments that the recovery took. */
  readonly intervalMs: number | undefined;
  /** To fetch one segment. */
  readonly fetchMs: number | undefined;
}

export const UNKNOWN_PACE: Pace = { intervalMs: undefined, fetchMs: undefined };

/** A faster replay counts at once: to be late costs more than to be early. */
export function withInterval(pace: Pace, ms: number): Pace {
  return { ...pace, intervalMs: Math.min(ms, average(pace.intervalMs, ms)) };
}

export function withFetch(pace: Pace, ms: number): Pace {
  return { ...pace, fetchMs: average(pace.fetchMs, ms) };
}

/** How many segments to have ready or under way, at most `most`. */
export function segmentsAhead({ intervalMs, fetchMs }: Pace, most: number): number {
  if (intervalMs === undefined || fetchMs === undefined) return Math.min(AHEAD_MIN, most);
  const needed = Math.ceil((RESERVE * fetchMs) / Math.max(intervalMs, 1)) + 1;
  return Math.min(Math.max(needed, AHEAD_MIN), most);
}

function average(before: number | undefined, ms: number): number {
  return before === undefined ? ms : before + WEIGHT * (ms - before);
}
