/**
 * Time that walarc has lived through: it counts while the daemon runs, goes on where it was after a
 * restart, and knows nothing of the time of day. So silence, windows and holds cannot be ended by a
 * clock that jumps, by a daemon that was down (nobody could report to it) or a machine that slept.
 */

/** No look at the clock counts for more than this since the one before: in between we slept. */
const LOOK_MS_MAX = 10_000;

const SERVED_MS_MAX = 100 * 365 * 86_400_000;

/**
 * Whether a value read from the store can be a time of service. Believing one beyond all reason
 * would move the time of everything else.
 */
export function isServedMs(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= SERVED_MS_MAX;
}

export class ServiceTime {
  readonly #clock: () => number;
  #seenMs: number;
  #servedMs = 0;
  #beforeMs = 0;

  /** `clock` counts milliseconds from anywhere, as `performance.now` does. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
    this.#seenMs = clock();
  }

  /** Milliseconds served so far. Has to be looked at every few seconds to count them all. */
  now(): number {
    const clockMs = this.#clock();
    this.#servedMs += Math.min(Math.max(0, clockMs - this.#seenMs), LOOK_MS_MAX);
    this.#seenMs = clockMs;
    return this.#servedMs;
  }

  /** Of those, the milliseconds since this daemon started. */
  sinceStart(): number {
    return this.now() - this.#beforeMs;
  }

  /** Learns that so much time had been served before, or by another daemon. */
  goOnFrom(servedMs: number): void {
    const missingMs = Math.max(0, servedMs - this.now());
    this.#beforeMs += missingMs;
    this.#servedMs += missingMs;
  }
}
