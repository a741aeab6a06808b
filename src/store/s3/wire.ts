/** Single S3 requests and their answers: what `bucket.ts` does, in no SDK's words. */
import type { Readable } from "node:stream";

/** What is put: it can be sent again, from its first byte. */
export interface Body {
  readonly sizeBytes: number;
  /** Hex digest of the bytes. */
  readonly sha256: string;
  open(): Buffer | Readable;
}

export interface PutConditions {
  readonly ifNoneMatch?: "*";
  /** ETag of the object to take the place of. */
  readonly ifMatch?: string | undefined;
  /** Whether the server knows `x-amz-checksum-sha256`, which it then checks and echoes. */
  readonly hasChecksum: boolean;
}

/** What the answer to a put says about the stored object. */
export interface Answered {
  readonly etag: string | undefined;
  readonly sha256: string | undefined;
}

export interface Found {
  readonly sizeBytes: number | undefined;
  readonly etag: string | undefined;
  /** Names in lower case. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ListPage {
  readonly objects: readonly { readonly key: string; readonly storedBytes: number }[];
  readonly prefixes: readonly string[];
  /** `undefined`: the answer is no listing, whatever its status says. */
  readonly isTruncated: boolean | undefined;
  /** Where the next page begins. */
  readonly next: string | undefined;
}

export interface PutAt {
  readonly key: string;
  /** `undefined` where the server does not say. */
  readonly putAtMs: number | undefined;
}

interface Aborted {
  readonly signal: AbortSignal;
}

export interface BucketRequests {
  credentials(): Promise<{ accessKeyId: string; secretAccessKey: string }>;
  renewCredentials(): void;
  put(
    key: string,
    body: Body,
    options: PutConditions & Aborted & { metadata: Record<string, string> },
  ): Promise<Answered>;
  get(
    key: string,
    options: Aborted & { range?: string; ifMatch?: string },
  ): Promise<Found & { readonly body: Readable }>;
  head(key: string, options: Aborted): Promise<Found>;
  list(
    prefix: string,
    options: Aborted & { after?: string; token?: string; delimiter?: string; keysMax?: number },
  ): Promise<ListPage>;
  /** When objects were put, by the server's clock; of the first page alone. */
  ages(prefix: string, options: Aborted): Promise<readonly PutAt[]>;
  remove(key: string, options: Aborted): Promise<void>;
  /** Resolves to the keys that are gone: those that the answer names as such, and no other. */
  removeMany(keys: readonly string[], options: Aborted): Promise<readonly string[]>;
  copy(from: string, to: string, options: Aborted & { etag: string | undefined }): Promise<void>;
  close(): void;
}

/** The type of a request, as metrics name it. */
export type RequestType = "put" | "get" | "head" | "list" | "delete" | "delete-many" | "copy";

/** `refused`: the server said no to this very request (it exists, it is not there, no rights). */
export type RequestResult = "ok" | "refused" | "throttled" | "failed" | "aborted";

export interface RequestObservation {
  readonly request: RequestType;
  readonly result: RequestResult;
  readonly seconds: number;
}
