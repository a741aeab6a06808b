/** What the head of a request about a WAL file says. */
import type { IncomingMessage } from "node:http";
import { WalarcError } from "../errors.ts";
import { quoted } from "./url.ts";

export interface PushHeaders {
  readonly encoding: "zstd" | "identity";
  /** Length of the body on the wire, where the client told it. */
  readonly bodyBytes: number | undefined;
  /** Lower-case hex, of the plain bytes. */
  readonly sha256: string | undefined;
  readonly systemIdentifier: string | undefined;
}

/** Throws `usage`, or `rejected` (415) for an encoding that walarc does not know. */
export function readPushHeaders(request: IncomingMessage): PushHeaders {
  if (request.headers["content-range"] !== undefined) {
    throw new WalarcError("usage", "a WAL file is pushed whole, not in ranges");
  }
  return {
    encoding: readEncoding(request),
    bodyBytes: readLength(request),
    sha256: readSha256(request),
    systemIdentifier: readSystemIdentifier(request),
  };
}

function readEncoding(request: IncomingMessage): PushHeaders["encoding"] {
  const encoding = request.headers["content-encoding"]?.toLowerCase() ?? "identity";
  if (encoding === "zstd" || encoding === "identity") return encoding;
  throw new WalarcError("rejected", `content encoding ${quoted(encoding)} is not supported`, {
    status: 415,
    hint: "send the file as it is, or compressed with zstd into a single frame",
  });
}

function readLength(request: IncomingMessage): number | undefined {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (encoding !== undefined) return undefined;
  // Without either header there is no body.
  return Number(length ?? 0);
}

function readSha256(request: IncomingMessage): string | undefined {
  const text = request.headers["walarc-sha256"];
  if (text === undefined) return undefined;
  if (typeof text === "string" && /^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw new WalarcError("usage", "Walarc-Sha256 is not 64 hex digits");
}

const U64_MAX = 2n ** 64n - 1n;

/** Decimal; throws `usage`. */
export function readSystemIdentifier(request: IncomingMessage): string | undefined {
  const text = request.headers["walarc-system-identifier"];
  if (text === undefined) return undefined;
  if (typeof text === "string" && /^[1-9]\d{0,19}$/.test(text) && BigInt(text) <= U64_MAX) {
    return text;
  }
  throw new WalarcError("usage", "Walarc-System-Identifier is not a decimal 64-bit number");
}

/** `device:inode:size:mtime_ns`, decimal; throws `usage`. */
export function readFileIdentity(request: IncomingMessage): string {
  const text = request.headers["walarc-file"];
  if (typeof text === "string" && /^\d{1,20}(:\d{1,20}){3}$/.test(text)) return text;
  throw new WalarcError("usage", "Walarc-File is not device:inode:size:mtime_ns");
}

/** Only an explicit wish: `*` is what clients send that have never heard of zstd. */
export function acceptsZstd(request: IncomingMessage): boolean {
  const wishes = (request.headers["accept-encoding"] ?? "").split(",");
  return wishes.some((wish) => {
    const [coding, ...parameters] = wish.split(";").map((part) => part.trim().toLowerCase());
    return coding === "zstd" && !parameters.some((text) => /^q=0(\.0{0,3})?$/.test(text));
  });
}
