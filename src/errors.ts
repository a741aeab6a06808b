/**
 * Every failure walarc can name: what it is over HTTP and what a command exits with. Codes and
 * numbers are public interface: add rows, never reuse one.
 *
 * No exit status here exceeds 125: PostgreSQL's archiver reads a higher one as a broken shell and
 * dies without counting the failure (pgarch.c). Only a fetch in recovery ends with `STOP_STATUS`,
 * on purpose.
 */
interface FailureRow {
  /** HTTP status of an answer with this code. */
  readonly http: number;
  /** Exit status of a command that ends with this code. */
  readonly exit: number;
}

export const FAILURES = {
  absent: { http: 404, exit: 1 },
  usage: { http: 400, exit: 2 },
  "unknown-cluster": { http: 404, exit: 2 },
  unreachable: { http: 504, exit: 3 },
  conflict: { http: 409, exit: 4 },
  rejected: { http: 422, exit: 5 },
  denied: { http: 403, exit: 6 },
  "store-failed": { http: 503, exit: 7 },
  local: { http: 500, exit: 8 },
  gap: { http: 410, exit: 9 },
  corrupt: { http: 500, exit: 10 },
  bug: { http: 500, exit: 70 },
} as const satisfies Record<string, FailureRow>;

export type FailureCode = keyof typeof FAILURES;

/**
 * Ends a fetch in recovery: above 125, so that PostgreSQL stops instead of opening the database.
 */
export const STOP_STATUS = 200;

export function isFailureCode(text: unknown): text is FailureCode {
  return typeof text === "string" && Object.hasOwn(FAILURES, text);
}

/**
 * An operating failure: expected to happen some day, and handled. Bugs are plain errors instead.
 */
export class WalarcError extends Error {
  override readonly name = "WalarcError";
  readonly code: FailureCode;
  /** What the reader should look at or do next; one sentence without a full stop. */
  readonly hint: string | undefined;
  /** HTTP status when it is not the code's usual one (401, 413, 507). */
  readonly status: number;

  constructor(
    code: FailureCode,
    message: string,
    options: { hint?: string; status?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.status = options.status ?? FAILURES[code].http;
  }
}

export function isFailure(error: unknown, code: FailureCode): error is WalarcError {
  return error instanceof WalarcError && error.code === code;
}
