import { WalarcError } from "../errors.ts";

export interface LaneOptions {
  /**
   * Operations under way at the same time. Each may hold a thread of the pool as long as it hangs.
   */
  readonly limit: number;
  /** So long a caller waits, for its turn and the operation together. */
  readonly deadlineMs: number;
  /** An operation older than this makes the lane sick. */
  readonly sickAfterMs: number;
}

interface Waiting {
  start(): Promise<void>;
  /** Tells a caller that queues that the lane has become sick. */
  warn(): void;
}

/**
 * The bounded share of storage operations that one cluster may have under way. An operation that
 * hangs cannot be stopped, only left: its caller is told after the deadline, while its place stays
 * taken until it really ends. As long as one of them is overdue the lane is *sick* and takes
 * nothing new. It heals by itself when the last overdue operation ends.
 */
export class Lane {
  readonly #subject: string;
  readonly #options: LaneOptions;
  readonly #queue = new Set<Waiting>();
  /** Releases callers that wait for the end of what is being finished. */
  readonly #finishing = new Set<() => void>();
  #running = 0;
  #overdue = 0;

  /** `subject` stands in messages: `storage of {subject} …`. */
  constructor(subject: string, options: LaneOptions) {
    this.#subject = subject;
    this.#options = options;
  }

  get isSick(): boolean {
    return this.#overdue > 0;
  }

  get isIdle(): boolean {
    return this.#running + this.#queue.size + this.#finishing.size === 0;
  }

  /**
   * Rejects with `store-failed` when the lane is or becomes sick while the operation waits for its
   * turn, or when the deadline passes; with the signal's reason when it aborts. What the operation
   * brings after that goes to `abandon`.
   */
  async run<T>(
    operation: () => Promise<T>,
    options: { signal?: AbortSignal | undefined; abandon?: (value: T) => void } = {},
  ): Promise<T> {
    const { signal, abandon } = options;
    signal?.throwIfAborted();
    if (this.isSick) throw this.#sickness();

    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let isLeft = false;
    const waiting = {
      start: async (): Promise<void> => {
        try {
          const value = await this.#occupy(operation);
          if (isLeft) abandon?.(value);
          else resolve(value);
        } catch (error) {
          reject(error); // Unheard when the caller has left, and has been told of a failure.
        }
      },
      warn: () => leave(this.#sickness()),
    };
    const leave = (reason: unknown): void => {
      isLeft = true;
      this.#queue.delete(waiting);
      reject(reason);
    };
    const abort = (): void => leave(signal?.reason);
    const deadline = setTimeout(() => leave(this.#timeout()), this.#options.deadlineMs);
    signal?.addEventListener("abort", abort, { once: true });
    this.#enqueue(waiting);
    try {
      return await promise;
    } finally {
      clearTimeout(deadline);
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Runs what must be done in any case (closing, removing what is staged), however sick the lane
   * is, and not before `after` has settled. Resolves when it is done, but keeps no caller waiting
   * for a lane that is sick.
   */
  async finish(operation: () => Promise<void>, after: Promise<unknown>[] = []): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#finishing.add(resolve);
    if (this.isSick) resolve();
    const deadline = setTimeout(resolve, this.#options.deadlineMs);
    const begin = async (): Promise<void> => {
      await Promise.allSettled(after);
      this.#enqueue({
        start: () => this.#occupy(operation).then(resolve, reject),
        warn: () => {},
      });
    };
    void begin();
    try {
      await promise;
    } finally {
      clearTimeout(deadline);
      this.#finishing.delete(resolve);
    }
  }

  #enqueue(waiting: Waiting): void {
    this.#queue.add(waiting);
    this.#startNext();
  }

  #startNext(): void {
    for (const waiting of this.#queue) {
      if (this.#running >= this.#options.limit) return;
      this.#queue.delete(waiting);
      void waiting.start();
    }
  }

  async #occupy<T>(operation: () => Promise<T>): Promise<T> {
    this.#running += 1;
    let isOverdue = false;
    const overdue = setTimeout(() => {
      isOverdue = true;
      this.#overdue += 1;
      for (const waiting of this.#queue) waiting.warn();
      for (const release of this.#finishing) release();
    }, this.#options.sickAfterMs);
    overdue.unref();
    try {
      return await operation();
    } finally {
      clearTimeout(overdue);
      if (isOverdue) this.#overdue -= 1;
      this.#running -= 1;
      this.#startNext();
    }
  }

  #sickness(): WalarcError {
    const seconds = this.#options.sickAfterMs / 1000;
    const message = `storage of ${this.#subject} hangs: an operation takes over ${seconds} s`;
    return new WalarcError("store-failed", message, { hint: HINT });
  }

  #timeout(): WalarcError {
    const seconds = this.#options.deadlineMs / 1000;
    const message = `storage of ${this.#subject} has not answered for ${seconds} s`;
    return new WalarcError("store-failed", message, { hint: HINT });
  }
}

const HINT = "Look at the disk, mount or bucket beneath it; once it answers again, so does walarc";
