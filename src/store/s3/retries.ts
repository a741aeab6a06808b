import { setTimeout as delay } from "node:timers/promises";
import { WalarcError } from "../../errors.ts";
import { s3Failure, type Verdict, verdictOf } from "./failure.ts";
import type { BucketRequests, RequestObservation, RequestResult, RequestType } from "./wire.ts";

const ATTEMPTS_MAX = 5;
const PAUSE_MS = 100;
/** Of throttled requests, and at most, in first pauses. */
const THROTTLED_PAUSES = 5;
const PAUSES_MAX = 30;
/** The patience with one operation, in timeouts of a request. */
const TIMEOUTS_IN_ALL = 3;
/** Slower than this, a body is not worth waiting for. */
const BYTES_PER_MS_MIN = 2_000;

export interface RetryOptions {
  readonly signal: AbortSignal;
  /** Bytes that go over the wire, for which the deadline makes room. */
  readonly sizeBytes?: number;
}

/** One attempt of an operation: the requests that it makes, each counted by itself. */
export interface Attempt {
  readonly signal: AbortSignal;
  request<T>(type: RequestType, send: (bucket: BucketRequests) => Promise<T>): Promise<T>;
}

/**
 * The one policy for all requests: a deadline for the operation as a whole, a few attempts with
 * growing random pauses between them, new credentials when the old ones have expired.
 */
export class Retries {
  readonly #bucket: BucketRequests;
  readonly #requestTimeoutMs: number;
  readonly #pauseMs: number;
  readonly #observe: (observation: RequestObservation) => void;

  constructor(
    bucket: BucketRequests,
    options: {
      requestTimeoutMs: number;
      /** The first pause between two attempts; the later ones follow from it. */
      pauseMs?: number | undefined;
      observe: (observation: RequestObservation) => void;
    },
  ) {
    this.#bucket = bucket;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.#pauseMs = options.pauseMs ?? PAUSE_MS;
    this.#observe = options.observe;
  }

  /** Rejects with the signal's reason, or with what became of the last attempt: `store-failed`. */
  async run<T>(
    doing: string,
    operation: (attempt: Attempt) => Promise<T>,
    options: RetryOptions,
  ): Promise<T> {
    options.signal.throwIfAborted();
    const deadlineMs = this.#deadlineMs(options.sizeBytes ?? 0);
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), deadlineMs);
    const signal = AbortSignal.any([options.signal, deadline.signal]);
    let last: unknown;
    try {
      for (let number = 1; number <= ATTEMPTS_MAX; number += 1) {
        try {
          return await operation({ signal, request: this.#sender() });
        } catch (error) {
          options.signal.throwIfAborted();
          if (signal.aborted) break;
          last = error;
          const verdict = verdictOf(error);
          if (verdict === "never") break;
          if (verdict === "renew") this.#bucket.renewCredentials();
          if (!(await this.#pause(number, verdict, signal))) break;
        }
      }
    } finally {
      clearTimeout(timer);
    }
    options.signal.throwIfAborted();
    throw last === undefined ? tooLate(doing, deadlineMs) : s3Failure(last, doing);
  }

  /** Whether there is another attempt after it, and time for it. */
  async #pause(number: number, verdict: Verdict, signal: AbortSignal): Promise<boolean> {
    if (number === ATTEMPTS_MAX) return false;
    const first = verdict === "throttled" ? THROTTLED_PAUSES : 1;
    const mostMs = this.#pauseMs * Math.min(PAUSES_MAX, first * 2 ** (number - 1));
    try {
      // At random, so that those who failed together do not come back together.
      await delay(mostMs * (0.5 + Math.random() / 2), undefined, { signal });
      return true;
    } catch {
      return false; // The caller looks at the signal.
    }
  }

  #deadlineMs(sizeBytes: number): number {
    return TIMEOUTS_IN_ALL * this.#requestTimeoutMs + Math.ceil(sizeBytes / BYTES_PER_MS_MIN);
  }

  #sender(): Attempt["request"] {
    return async (type, send) => {
      const startedMs = performance.now();
      const observe = (result: RequestResult): void => {
        const seconds = (performance.now() - startedMs) / 1000;
        this.#observe({ request: type, result, seconds });
      };
      try {
        const answer = await send(this.#bucket);
        observe("ok");
        return answer;
      } catch (error) {
        observe(resultOf(error));
        throw error;
      }
    };
  }
}

function resultOf(error: unknown): RequestResult {
  if (error instanceof Error && error.name === "AbortError") return "aborted";
  const verdict = verdictOf(error);
  if (verdict === "never") return "refused";
  return verdict === "throttled" ? "throttled" : "failed";
}

function tooLate(doing: string, deadlineMs: number): WalarcError {
  const seconds = Math.round(deadlineMs / 1000);
  return new WalarcError("store-failed", `cannot ${doing}: no answer within ${seconds} s`, {
    hint: "Look at the server and the network; walarc goes on by itself once it answers",
  });
}
