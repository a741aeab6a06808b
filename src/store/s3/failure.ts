/** What the errors of S3 servers, of the network and of the SDK mean for walarc. */
import { WalarcError } from "../../errors.ts";

/**
 * What can be done about a failed request. `again`: it may succeed if repeated. `throttled`: later.
 * `renew`: with new credentials. `never`: it was understood and refused.
 */
export type Verdict = "again" | "throttled" | "renew" | "never";

/** An answer with a status of success that proves nothing, or a body that is cut. */
export class BrokenAnswer extends Error {
  override readonly name = "BrokenAnswer";
  /** It may well be the stored object that is broken. */
  readonly isDamage: boolean;

  constructor(why: string, options: { isDamage?: boolean } = {}) {
    super(why);
    this.isDamage = options.isDamage ?? false;
  }
}

/** Every S3 server gives an object's ETag; what answers 200 without one is something in between. */
export function requireEtag<T extends { readonly etag: string | undefined }>(found: T): T {
  if (found.etag === undefined) throw new BrokenAnswer("its answer is not that of an S3 server");
  return found;
}

interface Reported {
  /** Code of S3, of the system (ECONNRESET) or name of the error. */
  readonly code: string;
  /** `undefined` when there was no answer. */
  readonly status: number | undefined;
}

const THROTTLED = new Set(["SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"]);

const AGAIN = new Set([
  "BadDigest",
  "ConditionalRequestConflict",
  "OperationAborted",
  "RequestTimeout",
  // The SDK corrects its clock by the answer's, so the next request is signed right.
  "RequestTimeTooSkewed",
  "RequestInTheFuture",
  "XAmzContentSHA256Mismatch",
]);

const RENEW = new Set(["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]);

const NETWORK =
  /^(?:E[A-Z0-9_]+|EAI_[A-Z]+|HPE_[A-Z_]+|ERR_(?:SSL|TLS|STREAM)_[A-Z_]+|TimeoutError)$/;

const NO_CREDENTIALS = /^(?:CredentialsProviderError|TokenProviderError)$/;

export function verdictOf(error: unknown): Verdict {
  if (error instanceof BrokenAnswer) return "again";
  const { code, status } = reported(error);
  if (RENEW.has(code)) return "renew";
  if (status === 429 || THROTTLED.has(code)) return "throttled";
  if (AGAIN.has(code)) return "again";
  if (status === undefined) return NETWORK.test(code) || isUnparsed(error) ? "again" : "never";
  if (status === 503) return "throttled";
  // 2xx: the answer could not be understood.
  if (status === 408 || status < 300) return "again";
  return status >= 500 && status !== 501 && status !== 507 ? "again" : "never";
}

/** The key is taken (`If-None-Match`), or the object is another one (`If-Match`). */
export function isPreconditionFailure(error: unknown): boolean {
  return reported(error).status === 412;
}

/** Of a HEAD, whose answer has no body and so no code. */
export function isMissing(error: unknown): boolean {
  return reported(error).status === 404;
}

/** There is no such object, in the words of S3: a 404 alone could be anybody's. */
export function isAbsent(error: unknown): boolean {
  const { status, code } = reported(error);
  return status === 404 && code === "NoSuchKey";
}

/** The server does not know the request, or a header of it. */
export function isUnsupported(error: unknown): boolean {
  const { status, code } = reported(error);
  return (
    status === 501 ||
    status === 405 ||
    code === "NotImplemented" ||
    (status === 400 && /^(?:InvalidRequest|InvalidArgument|MissingContentMD5)$/.test(code))
  );
}

/**
 * The one place where the errors of a bucket become ours: `store-failed`, with what to do about it.
 * What is no error of a request (a bug) passes unchanged.
 */
export function s3Failure(error: unknown, doing: string): unknown {
  if (error instanceof WalarcError || !(error instanceof Error)) return error;
  if (error instanceof BrokenAnswer && error.isDamage) {
    return new WalarcError("corrupt", `cannot ${doing}: ${error.message}`, { cause: error });
  }
  const { code, status } = reported(error);
  const isOurs = error instanceof BrokenAnswer;
  if (status === undefined && /region is missing/i.test(error.message)) {
    return noRegion(doing, error);
  }
  // The SDK marks what went wrong with a request, and only that.
  const isRequest = isOurs || "$metadata" in error || NO_CREDENTIALS.test(code);
  if (!isRequest && verdictOf(error) === "never") return error;
  const remedy = remedyOf(code, status);
  const means = remedy?.means ?? (status === undefined ? error.message : `it answers ${status}`);
  const shown = isOurs || code === "Error" || means.includes(code) ? "" : ` (${code})`;
  return new WalarcError("store-failed", `cannot ${doing}: ${means}${shown}`, {
    cause: error,
    ...(remedy === undefined ? {} : { hint: remedy.hint }),
    ...(remedy?.status === undefined ? {} : { status: remedy.status }),
  });
}

interface Remedy {
  readonly means: string;
  readonly hint: string;
  readonly status?: number;
}

const FULL: Remedy = {
  means: "the bucket takes no more",
  hint: "Raise the quota of the bucket or its owner, or let retention remove more",
  status: 507,
};
const WRONG_KEYS: Remedy = {
  means: "the server does not accept the credentials",
  hint: "Check the access key and secret in the environment or profile of the walarc process",
};
const UNREACHABLE: Remedy = {
  means: "the server cannot be reached",
  hint: "Check store.endpoint and the network; walarc goes on by itself once it answers",
};
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_/;
const CERTIFICATE_REMEDY: Remedy = {
  means: "the server's certificate is not trusted",
  hint:
    "If its authority is one of your own, name that in NODE_EXTRA_CA_CERTS for the walarc " +
    "process; else look at the certificate's names and dates",
};
const BUSY: Remedy = {
  means: "the server is overloaded or cannot serve now",
  hint: "PostgreSQL pushes again by itself; look at the server if this lasts",
};

const REMEDIES: Readonly<Record<string, Remedy>> = {
  QuotaExceeded: FULL,
  XMinioAdminBucketQuotaExceeded: FULL,
  XMinioStorageFull: FULL,
  StorageFull: FULL,
  InsufficientStorage: FULL,
  InvalidAccessKeyId: WRONG_KEYS,
  SignatureDoesNotMatch: WRONG_KEYS,
  InvalidToken: WRONG_KEYS,
  ERR_INVALID_CHAR: WRONG_KEYS,
  ExpiredToken: {
    means: "the credentials have expired",
    hint: "Whoever renews them has stopped: walarc reads them anew for each attempt",
  },
  CredentialsProviderError: {
    means: "no credentials are found",
    hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine",
  },
  AccessDenied: {
    means: "access is denied",
    hint: "Grant what docs/s3.md lists to the user or role that walarc uses",
  },
  NoSuchBucket: {
    means: "there is no such bucket",
    hint: "Check store.bucket and store.endpoint, or create the bucket: walarc never does",
  },
  PermanentRedirect: {
    means: "the bucket is in another region",
    hint: "Set store.region to the region of the bucket",
  },
  RequestTimeTooSkewed: {
    means: "the clocks of this machine and the server differ too much",
    hint: "Set the clock of this machine by NTP",
  },
  SlowDown: BUSY,
  TimeoutError: {
    means: "the server was silent for too long",
    hint: "Look at the server and the network; store.request_timeout says how long is too long",
  },
  ECONNREFUSED: UNREACHABLE,
  ENOTFOUND: UNREACHABLE,
  EAI_AGAIN: UNREACHABLE,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
};

function remedyOf(code: string, status: number | undefined): Remedy | undefined {
  const known = Object.hasOwn(REMEDIES, code) ? REMEDIES[code] : undefined;
  if (known !== undefined) return known;
  if (status === undefined && CERTIFICATE.test(code)) return CERTIFICATE_REMEDY;
  if (status === 507) return FULL;
  if (status === 301) return REMEDIES["PermanentRedirect"];
  if (status === 403) return REMEDIES["AccessDenied"];
  return status === 503 || status === 429 ? BUSY : undefined;
}

function noRegion(doing: string, cause: Error): WalarcError {
  return new WalarcError("usage", `cannot ${doing}: no region is given`, {
    hint: "Set store.region, or AWS_REGION in the environment of the walarc process",
    cause,
  });
}

function reported(error: unknown): Reported {
  if (!(error instanceof Error)) return { code: "", status: undefined };
  const { $metadata, code, Code } = error as {
    $metadata?: { httpStatusCode?: number };
    code?: unknown;
    Code?: unknown;
  };
  const named = [Code, code].find((text): text is string => typeof text === "string");
  return { code: named ?? error.name, status: $metadata?.httpStatusCode };
}

/** A page of HTML or half an XML document: the SDK says so in a SyntaxError or the like. */
function isUnparsed(error: unknown): boolean {
  return error instanceof Error && "$response" in error;
}
