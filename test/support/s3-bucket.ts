import { createHash } from "node:crypto";

/** An object as it lies in a bucket. */
export interface BucketObject {
  readonly body: Buffer;
  /** With its quotes, as it travels. */
  readonly etag: string;
  readonly storedAt: Date;
  /** Headers that come back with the object: user metadata, storage class, encryption, checksum. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What is asked of the object that is there before another takes its place. */
export interface Condition {
  readonly ifMatch?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
}

interface ListQuery {
  readonly prefix: string;
  readonly after: string;
  readonly delimiter: string;
  readonly keysMax: number;
}

export interface ListPage {
  readonly keys: readonly string[];
  readonly prefixes: readonly string[];
  /** Where the next page begins, after this; nothing when there is none. */
  readonly next: string | undefined;
}

/** One bucket in memory: what S3 promises, without a wire. */
export class MemoryBucket {
  readonly #objects = new Map<string, BucketObject>();

  get(key: string): BucketObject | undefined {
    return this.#objects.get(key);
  }

  /** Why a condition does not hold, as S3 calls it. */
  refusal(key: string, { ifMatch, ifNoneMatch }: Condition): S3ErrorCode | undefined {
    const there = this.#objects.get(key);
    if (ifMatch !== undefined && there === undefined) return "NoSuchKey";
    if (ifMatch !== undefined && !matches(ifMatch, there)) return "PreconditionFailed";
    if (ifNoneMatch !== undefined && matches(ifNoneMatch, there)) return "PreconditionFailed";
    return undefined;
  }

  put(key: string, body: Buffer, headers: Readonly<Record<string, string>>): BucketObject {
    const object = { body, etag: etagOf(body), storedAt: new Date(), headers };
    this.#objects.set(key, object);
    return object;
  }

  /** As if it had been put so long ago. */
  age(key: string, ms: number): void {
    const object = this.#objects.get(key);
    if (object === undefined) throw new Error(`there is no "${key}"`);
    this.#objects.set(key, { ...object, storedAt: new Date(Date.now() - ms) });
  }

  remove(key: string): void {
    this.#objects.delete(key);
  }

  clear(): void {
    this.#objects.clear();
  }

  /** All keys, in the order of their bytes. */
  keys(): string[] {
    return [...this.#objects.keys()].sort(byBytes);
  }

  list({ prefix, after, delimiter, keysMax }: ListQuery): ListPage {
    const keys: string[] = [];
    const prefixes: string[] = [];
    let last = after;
    for (const key of this.keys()) {
      if (!key.startsWith(prefix) || byBytes(key, after) <= 0) continue;
      const shared = commonPrefix(key, { prefix, delimiter });
      // A page that ended with a common prefix has told of all that begins with it.
      if (shared !== undefined && (after === shared || prefixes.at(-1) === shared)) continue;
      if (keys.length + prefixes.length === keysMax) return { keys, prefixes, next: last };
      if (shared === undefined) keys.push(key);
      else prefixes.push(shared);
      last = shared ?? key;
    }
    return { keys, prefixes, next: undefined };
  }
}

/** The codes of S3 that this server gives, with their statuses. */
export const S3_ERRORS = {
  BadDigest: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InternalError: 500,
  ExpiredToken: 403,
  AccessDenied: 403,
  ConditionalRequestConflict: 409,
  MethodNotAllowed: 405,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NotImplemented: 501,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  SlowDown: 503,
  XAmzContentSHA256Mismatch: 400,
} as const;

export type S3ErrorCode = keyof typeof S3_ERRORS;

/** MD5 in quotes: what S3 gives for an object that came in one piece. */
export function etagOf(body: Uint8Array): string {
  return `"${createHash("md5").update(body).digest("hex")}"`;
}

function matches(condition: string, object: BucketObject | undefined): boolean {
  if (object === undefined) return false;
  if (condition === "*") return true;
  return condition.replaceAll('"', "") === object.etag.replaceAll('"', "");
}

function commonPrefix(
  key: string,
  { prefix, delimiter }: { prefix: string; delimiter: string },
): string | undefined {
  if (delimiter === "") return undefined;
  const end = key.indexOf(delimiter, prefix.length);
  return end < 0 ? undefined : key.slice(0, end + delimiter.length);
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
