import type { S3ErrorCode } from "./s3-bucket.ts";

/** What goes wrong with one request to an S3 server. */
export type S3Fault =
  /** Refused with an error document; nothing was done. */
  | { readonly kind: "refuse"; readonly code: S3ErrorCode; readonly status?: number }
  /** 200, and the error document in its body; nothing was done. */
  | { readonly kind: "error-in-200"; readonly code: S3ErrorCode }
  /** A bare 200, as of a proxy that knows nothing of S3; nothing was done. */
  | { readonly kind: "hollow" }
  /** A page of a web server, with an ETag and all; nothing was done. */
  | { readonly kind: "page" }
  /** The connection breaks after so many bytes of the request's body. */
  | { readonly kind: "cut-request"; readonly afterBytes: number }
  /** All is done, and the connection breaks after so many bytes of the answer. */
  | { readonly kind: "cut-answer"; readonly afterBytes: number }
  /** No answer comes, whether before or after all is done. */
  | { readonly kind: "silence"; readonly moment: "before" | "after" }
  /** Another part of the server, which has not heard of the object yet, answers a read. */
  | { readonly kind: "stale" }
  /** A read's answer is whole for HTTP, and another body than what is stored. */
  | { readonly kind: "body"; readonly change: BodyChange }
  /** The credentials are no longer good, from here on; fresh ones are. */
  | { readonly kind: "expire" }
  /** The server's clock jumps, and stays there. */
  | { readonly kind: "skew"; readonly byMs: number };

export type BodyChange = "short" | "long" | "corrupt" | "corrupt-end";

/** The faults that a script may put before any request, by the names that tests print. */
export const S3_FAULTS = {
  "503 SlowDown": { kind: "refuse", code: "SlowDown" },
  "500": { kind: "refuse", code: "InternalError" },
  "409": { kind: "refuse", code: "ConditionalRequestConflict" },
  "412 for nothing": { kind: "refuse", code: "PreconditionFailed" },
  "200 with an error": { kind: "error-in-200", code: "InternalError" },
  "200 of a proxy": { kind: "hollow" },
  "reset in the request": { kind: "cut-request", afterBytes: 700 },
  "reset before the answer": { kind: "cut-answer", afterBytes: 0 },
  "reset in the answer": { kind: "cut-answer", afterBytes: 400 },
  "timeout before storing": { kind: "silence", moment: "before" },
  "timeout after storing": { kind: "silence", moment: "after" },
  "404, stale": { kind: "stale" },
  "read short": { kind: "body", change: "short" },
  "read long": { kind: "body", change: "long" },
  "read corrupt": { kind: "body", change: "corrupt" },
  "read corrupt at the end": { kind: "body", change: "corrupt-end" },
  "403 expired": { kind: "expire" },
  "403 skewed": { kind: "skew", byMs: 3_600_000 },
} as const satisfies Record<string, S3Fault>;

export type S3FaultName = keyof typeof S3_FAULTS;

/** A body as a fault leaves it. */
export function changedBody(body: Buffer, change: BodyChange): Buffer {
  switch (change) {
    case "short":
      return body.subarray(0, Math.floor(body.length / 2));
    case "long":
      return Buffer.concat([body, Buffer.from("and more")]);
    case "corrupt":
      return flipped(body, Math.floor(body.length / 2));
    case "corrupt-end":
      return flipped(body, body.length - 1);
  }
}

function flipped(body: Buffer, at: number): Buffer {
  const changed = Buffer.from(body);
  if (changed.length > 0) changed.writeUInt8(changed.readUInt8(at) ^ 0x40, at);
  return changed;
}
