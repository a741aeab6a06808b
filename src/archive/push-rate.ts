/** How fast a cluster may archive, so that its backlog leaves room for others on the network. */
import { setTimeout as delay } from "node:timers/promises";

export interface PushRateLimit {
  readonly bytesPerSecond: number;
  /** Pushes held back for so long without a pause are a backlog: it is let through. */
  readonly catchUpAfterMs: number;
  /** The same for so many WAL files known to wait. */
  readonly catchUpFiles: number;
}

/** Time, which tests make themselves. */
export interface Clock {
  /** Monotonic, in ms. */
  now(): number;
  sleep(ms: number, options: { signal: AbortSignal }): Promise<void>;
}

const CLOCK: Clock = {
  now: () => performance.now(),
  sleep: (ms, { signal }) => delay(ms, undefined, { signal }),
};

/** What may pass at once after a pause. */
const BURST_MS = 1000;
/** Shorter waits are saved up: a chunk is worth a fraction of a millisecond. */
const WAIT_MS_MIN = 20;
/** No push waits longer in all, so that none fails for the rate alone. */
const PATIENCE_MS = 20_000;
/** What patience has let pass is paid back for so long at most. */
const DEBT_MS_MAX = 60_000;
/** After a pause of so long nobody is behind. */
const PAUSE_MS = 2000;

/**
 * The push rate of one cluster: plain bytes, whoever sends or reads them. A push that comes too
 * fast is read more slowly, and so sent more slowly. Lifted while the archiver is far behind: WAL
 * that is not archived fills the database's disk.
 */
export class PushRate {
  readonly #limit: PushRateLimit;
  readonly #clock: Clock;
  readonly #backlog: () => number;
  readonly #lifted: (isLifted: boolean) => void;
  /** When what has passed so far will have been paid for. */
  #paidMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** Since when there was always something to wait for. */
  #busySinceMs: number | undefined;
  #isLifted = false;

  /** `lifted` hears of every change. */
  constructor(
    limit: PushRateLimit,
    options: {
      /** WAL files that are known to wait; 0 where nobody can know. */
      backlog: () => number;
      lifted: (isLifted: boolean) => void;
      clock?: Clock;
    },
  ) {
    this.#limit = limit;
    this.#backlog = options.backlog;
    this.#lifted = options.lifted;
    this.#clock = options.clock ?? CLOCK;
  }

  /**
   * The same bytes of one push, at the pace of the cluster. Rejects with the signal's reason. Its
   * patience runs from now on: waiting for a place among other pushes is waiting, too.
   */
  paced(body: AsyncIterable<Buffer>, options: { signal: AbortSignal }): AsyncIterable<Buffer> {
    const untilMs = this.#clock.now() + PATIENCE_MS;
    return this.#pacedUntil(untilMs, body, options);
  }

  async *#pacedUntil(
    untilMs: number,
    body: AsyncIterable<Buffer>,
    options: { signal: AbortSignal },
  ): AsyncGenerator<Buffer, void, void> {
    for await (const chunk of body) {
      const owedMs = this.#spend(chunk.length);
      const waitMs = Math.min(owedMs, untilMs - this.#clock.now());
      if (waitMs >= WAIT_MS_MIN) await this.#clock.sleep(waitMs, options);
      yield chunk;
    }
  }

  /** How long to wait before these bytes may pass. */
  #spend(bytes: number): number {
    const now = this.#clock.now();
    this.#note(now);
    if (this.#isLifted) return 0;
    const costMs = (bytes / this.#limit.bytesPerSecond) * 1000;
    this.#paidMs = Math.min(Math.max(this.#paidMs, now) + costMs, now + DEBT_MS_MAX);
    const waitMs = this.#paidMs - now - BURST_MS;
    if (waitMs > 0) this.#busySinceMs ??= now;
    return Math.max(0, waitMs);
  }

  #note(now: number): void {
    if (this.#paidMs <= now) this.#busySinceMs = undefined;
    const isPaused = now - this.#lastMs > PAUSE_MS;
    this.#lastMs = now;
    const backlog = this.#backlog();
    const busyMs = now - (this.#busySinceMs ?? now);
    const { catchUpAfterMs, catchUpFiles } = this.#limit;
    if (this.#isLifted) {
      if (isPaused && backlog <= catchUpFiles) this.#set(false);
    } else if (backlog > catchUpFiles || busyMs > catchUpAfterMs) {
      this.#set(true);
    }
  }

  #set(isLifted: boolean): void {
    this.#isLifted = isLifted;
    this.#paidMs = 0;
    this.#busySinceMs = undefined;
    this.#lifted(isLifted);
  }
}
