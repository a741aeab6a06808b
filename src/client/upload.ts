/** One WAL file sent to the archive. */
import { createHash, type Hash } from "node:crypto";
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import { describeServer, type Endpoint } from "./connection.ts";
import { exchange, type HttpAnswer, type RequestBody } from "./exchange.ts";
import type { Frames } from "./frames.ts";
import { failureIn } from "./problem.ts";
import { readSource, requireUnchanged, type SourceFile } from "./source-file.ts";
import { decompressed } from "./zstd.ts";

export interface Upload {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly name: WalName;
  readonly file: SourceFile;
  /** Such as the caller's system identifier. */
  readonly headers: Readonly<Record<string, string>>;
  /** With them the file goes as a frame, where it is small enough and the runtime can. */
  readonly frames?: Frames | undefined;
  readonly signal: AbortSignal;
  readonly idleTimeoutMs?: number | undefined;
}

/**
 * Resolves only when the archive has said that the file is safe and has named the digest of exactly
 * the bytes sent; rejects with a `WalarcError`.
 */
export async function upload(request: Upload): Promise<void> {
  const { file, frames } = request;
  const frame = await frames?.of(file);
  if (frame !== undefined) return await uploadFrame(request, frame);
  const sha256 = createHash("sha256");
  const answer = await put(request, readingBody(file, sha256), {});
  requireSame(answer, STORED, sha256.digest("hex"));
}

const STORED = "walarc-sha256";
const FRAME = "walarc-frame-sha256";

/**
 * The digest of the frame is as good as that of the file, which takes ten times as long: the frame
 * proves its content by a checksum, and it is the content that the archive has stored. A daemon
 * that does not name it is asked for the other one.
 */
async function uploadFrame(request: Upload, frame: Buffer): Promise<void> {
  const answer = await put(request, bufferBody(frame), { "Content-Encoding": "zstd" });
  if (answer.headers.has(FRAME)) return requireSame(answer, FRAME, digestOf(frame));
  const plain = await decompressed(frame, request.file.stats.size);
  requireSame(answer, STORED, digestOf(plain));
}

/** Resolves to an answer that claims success. */
async function put(
  { endpoint, cluster, name, headers, signal, idleTimeoutMs }: Upload,
  body: RequestBody,
  coding: Readonly<Record<string, string>>,
): Promise<HttpAnswer> {
  const path = `/v1/clusters/${cluster}/wal/${name.text}`;
  const request = { path, headers: { ...headers, ...coding }, body, signal, idleTimeoutMs };
  const answer = await exchange(endpoint, { method: "PUT", ...request });
  const where = describeServer(endpoint.address);
  if (answer.status !== 200 && answer.status !== 201) {
    throw failureIn(answer, where, ["absent", "gap"]);
  }
  if (!answer.headers.has(STORED) || !answer.isRequestSent) {
    const hint = "is this walarc's address, or does a proxy answer in its place?";
    const why = `status ${answer.status} without proof that the file is stored`;
    throw new WalarcError("unreachable", `${where}: ${why}`, { hint });
  }
  return answer;
}

function requireSame(answer: HttpAnswer, header: string, sent: string): void {
  const stored = answer.headers.get(header) ?? "";
  if (stored.toLowerCase() === sent) return;
  const hint = "the bytes changed on their way: compare the archived file with the one here";
  const why = `the archive holds sha256 ${stored.slice(0, 64)}, sent was ${sent}`;
  throw new WalarcError("conflict", why, { hint });
}

function digestOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Reads the file for the network and hashes what is read. The last bytes go out only if the file is
 * still what it was.
 */
function readingBody(file: SourceFile, sha256: Hash): RequestBody {
  const { size: sizeBytes } = file.stats;
  let bytesRead = 0;
  const read = (buffer: Buffer) => {
    const count = readSource(file, buffer);
    sha256.update(buffer.subarray(0, count));
    bytesRead += count;
    if (count === 0 || bytesRead === sizeBytes) requireUnchanged(file, bytesRead);
    return count;
  };
  return { sizeBytes, read };
}

function bufferBody(bytes: Buffer): RequestBody {
  let rest = bytes;
  return {
    sizeBytes: bytes.length,
    read: (buffer) => {
      const count = rest.copy(buffer);
      rest = rest.subarray(count);
      return count;
    },
  };
}
