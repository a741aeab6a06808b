import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { crc32 } from "node:zlib";
import type { S3ErrorCode } from "./s3-bucket.ts";

/** A request in the words of S3. */
export interface S3Request {
  readonly operation: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
}

/** The request that an HTTP request is, in path style. */
export function parseRequest(incoming: IncomingMessage): S3Request {
  const url = new URL(incoming.url ?? "/", "http://localhost");
  const [, bucket = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
  const key = rest.join("/");
  const { headers } = incoming;
  const { searchParams: query } = url;
  const operation = operationOf(`${incoming.method}`, { key, query, headers });
  return { operation, bucket, key, query, headers };
}

function operationOf(
  method: string,
  { key, query, headers }: Pick<S3Request, "key" | "query" | "headers">,
): string {
  const ofObject = key !== "";
  switch (method) {
    case "PUT":
      if (!ofObject) return "CreateBucket";
      if (query.has("uploadId")) return "UploadPart";
      return headers["x-amz-copy-source"] === undefined ? "PutObject" : "CopyObject";
    case "GET":
      if (ofObject) return "GetObject";
      return query.get("list-type") === "2" ? "ListObjectsV2" : "GetBucketSomething";
    case "HEAD":
      return ofObject ? "HeadObject" : "HeadBucket";
    case "DELETE":
      return ofObject ? "DeleteObject" : "DeleteBucket";
    case "POST":
      return query.has("delete") ? "DeleteObjects" : "PostSomething";
    default:
      return method;
  }
}

/** The object's own bytes: a body that comes as `aws-chunked` loses its frames and its trailer. */
export function unframed(
  body: Buffer,
  headers: IncomingMessage["headers"],
): { content: Buffer; trailer: Record<string, string> } {
  const isFramed = String(headers["x-amz-content-sha256"]).startsWith("STREAMING-");
  if (!isFramed) return { content: body, trailer: {} };
  const pieces: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = body.indexOf("\r\n", at);
    const sizeBytes = Number.parseInt(body.subarray(at, end).toString("latin1"), 16);
    if (sizeBytes === 0) return { content: Buffer.concat(pieces), trailer: trailerOf(body, end) };
    pieces.push(body.subarray(end + 2, end + 2 + sizeBytes));
    at = end + 2 + sizeBytes + 2;
  }
}

function trailerOf(body: Buffer, from: number): Record<string, string> {
  const lines = body.subarray(from).toString("latin1").split("\r\n");
  const pairs = lines.filter((line) => line.includes(":")).map((line) => line.split(":", 2));
  return Object.fromEntries(pairs.map(([name = "", value = ""]) => [name, value.trim()]));
}

/** Why the content is not what its digests say. */
export function digestRefusal(
  content: Buffer,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): S3ErrorCode | undefined {
  const md5 = headers["content-md5"];
  if (md5 !== undefined && md5 !== digest("md5", content)) return "BadDigest";
  const signed = String(headers["x-amz-content-sha256"] ?? "");
  const sha256 = createHash("sha256").update(content).digest("hex");
  if (/^[0-9a-f]{64}$/.test(signed) && signed !== sha256) return "XAmzContentSHA256Mismatch";
  for (const [algorithm, compute] of Object.entries(CHECKSUMS)) {
    const told = headers[`x-amz-checksum-${algorithm}`];
    if (told !== undefined && told !== compute(content)) return "BadDigest";
  }
  return undefined;
}

const CHECKSUMS: Readonly<Record<string, (content: Buffer) => string>> = {
  crc32: (content) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(crc32(content));
    return bytes.toString("base64");
  },
  sha1: (content) => digest("sha1", content),
  sha256: (content) => digest("sha256", content),
};

function digest(algorithm: string, content: Buffer): string {
  return createHash(algorithm).update(content).digest("base64");
}

/** Headers that come back with the object. */
export function keptHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const isKept = (name: string) =>
    /^x-amz-(meta-.*|storage-class|checksum-(crc32|sha1|sha256)|server-side-encryption.*)$/.test(
      name,
    );
  const kept = Object.entries(headers).filter(([name]) => isKept(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}

/** Whose key signed it, and when: `Credential=KEY/…` and `x-amz-date` of Signature Version 4. */
export function signatureOf(headers: IncomingMessage["headers"]): {
  accessKeyId: string;
  signedAtMs: number;
} {
  const [, accessKeyId = ""] = /Credential=([^/]+)\//.exec(headers.authorization ?? "") ?? [];
  const date = String(headers["x-amz-date"]);
  const iso = date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z");
  return { accessKeyId, signedAtMs: Date.parse(iso) };
}
