/** Background work that can be stopped, and work that cannot outlast its deadline. */
import { setTimeout as delay } from "node:timers/promises";

/** Work that repeats in the background. Disposing it aborts the running step and waits for it. */
export interface Loop extends AsyncDisposable {
  /** Asks for a step now rather than at the next interval. Many rings count as one. */
  ring(): void;
}

export interface LoopOptions {
  /** What the log calls it. */
  readonly name: string;
  readonly intervalMs: number;
  /** After failures the pause doubles from a second up to this. */
  readonly retryMsMax: number;
  readonly log: { warn(fields: object, message: string): void };
}

const RETRY_MS_MIN = 1000;

/**
 * Runs `step` at once and then once per interval, sooner on a ring, later after failures, and never
 * two at a time. A failing step is logged and tried again: a daemon outlives its worst minute.
 */
export function startLoop(
  step: (signal: AbortSignal) => Promise<void>,
  options: LoopOptions,
): Loop {
  const stop = new AbortController();
  const bell = new Bell();
  const done = runLoop(step, options, bell, stop.signal);
  return {
    ring: () => bell.ring(),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await done;
    },
  };
}

async function runLoop(
  step: (signal: AbortSignal) => Promise<void>,
  options: LoopOptions,
  bell: Bell,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await step(signal);
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      const retryMs = Math.min(RETRY_MS_MIN * 2 ** failures, options.retryMsMax);
      failures += 1;
      options.log.warn({ loop: options.name, err: error, failures, retryMs }, "step failed");
      // Deaf to the bell: whatever rings must not turn the back-off into a hot loop.
      await delay(retryMs, undefined, { signal }).catch(ignoreAbort);
      continue;
    }
    await bell.heard({ deadlineMs: options.intervalMs, signal });
  }
}

/** The wait was cut short by the stop that the loop looks at next. */
function ignoreAbort(): void {}

/** Wakes one waiter. A ring that nobody waits for is kept for the next one; many count as one. */
export class Bell {
  #isRung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#isRung = true;
    this.#wake?.();
  }

  /** Resolves with true on a ring, also an earlier one; with false at the deadline or an abort. */
  async heard(options: { deadlineMs: number; signal?: AbortSignal }): Promise<boolean> {
    if (!this.#isRung && options.signal?.aborted !== true) await this.#wait(options);
    const heard = this.#isRung;
    this.#isRung = false;
    return heard;
  }

  #wait({ deadlineMs, signal }: { deadlineMs: number; signal?: AbortSignal }): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", wake);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(wake, deadlineMs);
      signal?.addEventListener("abort", wake, { once: true });
      this.#wake = wake;
    });
  }
}

export interface Deadline {
  readonly deadlineMs: number;
  /** What the caller gets, and the work's signal carries, when the time is over. */
  readonly expired: () => Error;
  /** Ends the work early, with its own reason. */
  readonly signal?: AbortSignal;
}

/**
 * Settles with the work, or rejects at the deadline or abort, whichever comes first: also when the
 * work does not listen to its signal and hangs. What the work does later is of no consequence then.
 */
export async function withDeadline<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { deadlineMs, expired, signal }: Deadline,
): Promise<T> {
  signal?.throwIfAborted();
  const end = new AbortController();
  const follow = () => end.abort(signal?.reason);
  // Not AbortSignal.any: the outer signal may live as long as the daemon.
  signal?.addEventListener("abort", follow, { once: true });
  const timer = setTimeout(() => end.abort(expired()), deadlineMs);
  try {
    return await Promise.race([work(end.signal), rejectedBy(end.signal)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", follow);
  }
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

/** Settles with the work, or rejects with the signal's reason; the work itself goes on. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
