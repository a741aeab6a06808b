/** One WAL file sent to the archive. */
import { createHash, type Hash } from "node:crypto";
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import { describeServer, type Endpoint } from "./connection.ts";
import { exchange, type RequestBody } from "./exchange.ts";
import { failureIn } from "./problem.ts";
import { readSource, requireUnchanged, type SourceFile } from "./source-file.ts";
import { compressed, FRAME_PLAIN_BYTES_MAX } from "./zstd.ts";

export interface Upload {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly name: WalName;
  readonly file: SourceFile;
  /** Such as the caller's system identifier. */
  readonly headers: Readonly<Record<string, string>>;
  /** With zstd the file goes as a frame, where it is small enough and the runtime can. */
  readonly encoding?: "zstd" | undefined;
  readonly signal: AbortSignal;
  readonly idleTimeoutMs?: number | undefined;
}

/**
 * Resolves only when the archive has said that the file is safe and has named the digest of exactly
 * the bytes sent; rejects with a `WalarcError`.
 */
export async function upload(request: Upload): Promise<void> {
  const { endpoint, cluster, name, file, signal, idleTimeoutMs } = request;
  const sha256 = createHash("sha256");
  const isFramed = request.encoding === "zstd" && file.stats.size <= FRAME_PLAIN_BYTES_MAX;
  const plain = readingBody(file, sha256);
  const whole = isFramed ? readWhole(plain) : undefined;
  const frame = whole && (await compressed(whole));
  const coding: Record<string, string> = frame ? { "Content-Encoding": "zstd" } : {};
  const answer = await exchange(endpoint, {
    method: "PUT",
    path: `/v1/clusters/${cluster}/wal/${name.text}`,
    headers: { ...request.headers, ...coding },
    body: whole ? bufferBody(frame ?? whole) : plain,
    signal,
    idleTimeoutMs,
  });
  const where = describeServer(endpoint.address);
  if (answer.status !== 200 && answer.status !== 201) {
    throw failureIn(answer, where, ["absent", "gap"]);
  }
  const stored = answer.headers.get("walarc-sha256");
  if (stored === undefined || !answer.isRequestSent) {
    const hint = "is this walarc's address, or does a proxy answer in its place?";
    const why = `status ${answer.status} without proof that the file is stored`;
    throw new WalarcError("unreachable", `${where}: ${why}`, { hint });
  }
  const sent = sha256.digest("hex");
  if (stored.toLowerCase() !== sent) {
    const hint = "the bytes changed on their way: compare the archived file with the one here";
    const why = `the archive holds sha256 ${stored.slice(0, 64)}, sent was ${sent}`;
    throw new WalarcError("conflict", why, { hint });
  }
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

/** All of a body, which is read to its end by this. */
function readWhole(body: RequestBody): Buffer {
  const bytes = Buffer.allocUnsafe(body.sizeBytes);
  let count = 0;
  while (count < bytes.length) {
    const more = body.read(bytes.subarray(count));
    if (more === 0) break; // Cut short: `read` has thrown.
    count += more;
  }
  return bytes;
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
