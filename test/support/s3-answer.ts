import {
  type BucketObject,
  type ListPage,
  type MemoryBucket,
  S3_ERRORS,
  type S3ErrorCode,
} from "./s3-bucket.ts";

/** An answer before it goes on the wire. */
export interface S3Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export function emptyAnswer(status: number, headers: Readonly<Record<string, string>> = {}) {
  return { status, headers, body: Buffer.alloc(0) };
}

/** What is there instead of an S3 server, for a moment. */
export const PAGE: S3Answer = {
  status: 200,
  headers: { "content-type": "text/html", etag: '"65a1f3c2-264"' },
  body: Buffer.from("<!DOCTYPE html><title>Login</title>"),
};

/** The error document of S3; `status` where it is not the code's own. */
export function errorAnswer(code: S3ErrorCode, status: number = S3_ERRORS[code]): S3Answer {
  const text = `<Error><Code>${code}</Code><Message>${code}, says the test</Message></Error>`;
  return xmlAnswer(status, text);
}

/** An object or the range of it that was asked for. */
export function objectAnswer(
  object: BucketObject,
  { range, wantsChecksum }: { range: string | undefined; wantsChecksum: boolean },
): S3Answer {
  const headers: Record<string, string> = {
    etag: object.etag,
    "last-modified": object.storedAt.toUTCString(),
    "accept-ranges": "bytes",
    "content-type": "application/octet-stream",
  };
  for (const [name, value] of Object.entries(object.headers)) {
    if (wantsChecksum || !name.startsWith("x-amz-checksum-")) headers[name] = value;
  }
  if (range === undefined) return { status: 200, headers, body: object.body };
  const bounds = boundsOf(range, object.body.length);
  if (bounds === undefined) return errorAnswer("InvalidRange");
  const [first, last] = bounds;
  // A checksum is of the whole.
  const partHeaders = Object.entries(headers).filter(([name]) => !name.startsWith("x-amz-check"));
  const place = `bytes ${first}-${last}/${object.body.length}`;
  return {
    status: 206,
    headers: { ...Object.fromEntries(partHeaders), "content-range": place },
    body: object.body.subarray(first, last + 1),
  };
}

/** The answer to ListObjectsV2. */
export function listAnswer(bucket: MemoryBucket, query: URLSearchParams): S3Answer {
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const token = query.get("continuation-token");
  const after =
    token === null ? (query.get("start-after") ?? "") : Buffer.from(token, "base64url").toString();
  const keysMax = Math.min(1000, Number(query.get("max-keys") ?? 1000));
  const page = bucket.list({ prefix, delimiter, after, keysMax });
  const encode = query.get("encoding-type") === "url" ? encodeURIComponent : escapeXml;
  return xmlAnswer(200, listDocument(page, { bucket, encode }));
}

function listDocument(
  page: ListPage,
  { bucket, encode }: { bucket: MemoryBucket; encode: (key: string) => string },
): string {
  const contents = page.keys.map((key) => {
    const object = bucket.get(key);
    return (
      `<Contents><Key>${encode(key)}</Key><Size>${object?.body.length ?? 0}</Size>` +
      `<ETag>${escapeXml(object?.etag ?? "")}</ETag><StorageClass>STANDARD</StorageClass>` +
      `<LastModified>${object?.storedAt.toISOString()}</LastModified></Contents>`
    );
  });
  const prefixes = page.prefixes.map((prefix) => {
    return `<CommonPrefixes><Prefix>${encode(prefix)}</Prefix></CommonPrefixes>`;
  });
  const token = page.next === undefined ? "" : Buffer.from(page.next).toString("base64url");
  const next = token === "" ? "" : `<NextContinuationToken>${token}</NextContinuationToken>`;
  return (
    `<ListBucketResult><IsTruncated>${page.next !== undefined}</IsTruncated>${next}` +
    `<KeyCount>${page.keys.length + page.prefixes.length}</KeyCount>` +
    `${contents.join("")}${prefixes.join("")}</ListBucketResult>`
  );
}

/** The keys in a DeleteObjects request. */
export function keysToDelete(body: Buffer): string[] {
  return [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) => {
    return unescapeXml(key);
  });
}

export function deletedAnswer(keys: readonly string[], { quiet }: { quiet: boolean }): S3Answer {
  const deleted = quiet ? [] : keys.map((key) => `<Deleted><Key>${escapeXml(key)}</Key></Deleted>`);
  return xmlAnswer(200, `<DeleteResult>${deleted.join("")}</DeleteResult>`);
}

export function copiedAnswer(copy: BucketObject): S3Answer {
  const etag = escapeXml(copy.etag);
  const time = copy.storedAt.toISOString();
  return xmlAnswer(
    200,
    `<CopyObjectResult><ETag>${etag}</ETag><LastModified>${time}</LastModified></CopyObjectResult>`,
  );
}

function xmlAnswer(status: number, document: string): S3Answer {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${document}`);
  return { status, headers: { "content-type": "application/xml" }, body };
}

/** RFC 9110, section 14.1.2: `bytes=A-B`, `bytes=A-` and the last N, `bytes=-N`. */
function boundsOf(range: string, sizeBytes: number): [number, number] | undefined {
  const [, from = "", to = ""] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? [];
  if (from === "") {
    const count = Math.min(Number(to), sizeBytes);
    return count === 0 ? undefined : [sizeBytes - count, sizeBytes - 1];
  }
  const first = Number(from);
  const last = to === "" ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  return first >= sizeBytes || first > last ? undefined : [first, last];
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" } as const;

function escapeXml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => ENTITIES[sign as keyof typeof ENTITIES]);
}

function unescapeXml(text: string): string {
  let plain = text;
  for (const [sign, entity] of Object.entries(ENTITIES).toReversed()) {
    plain = plain.replaceAll(entity, sign);
  }
  return plain;
}
