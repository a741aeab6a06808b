/** One WAL file asked of the archive, and where its bytes go. */
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import type { AnswerHead } from "./answer.ts";
import { describeServer, type Endpoint } from "./connection.ts";
import { exchange } from "./exchange.ts";
import { failureIn } from "./problem.ts";
import { canDecompress, decompressed, FRAME_PLAIN_BYTES_MAX } from "./zstd.ts";

export interface Sink {
  write(bytes: Buffer): void;
  /** Called when a part of a frame has come, which is written when it is whole. */
  touch?(): void;
}

export interface Download {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly name: WalName;
  /** Such as the caller's system identifier. */
  readonly headers: Readonly<Record<string, string>>;
  /** Called once the archive has begun to answer with the file. */
  readonly open: () => Sink;
  /** The length of the file, where it is known and may come as a zstd frame. */
  readonly framedBytes?: number | undefined;
  /** Called when the request is on its way: what is done here costs no time. */
  readonly onSent?: (() => void) | undefined;
  readonly signal: AbortSignal;
  readonly idleTimeoutMs?: number | undefined;
}

/**
 * Resolves to the digest (hex) that the archive names, when all bytes are written. Rejects with the
 * failure that the archive answers with, or `unreachable` without an answer of walarc's.
 */
export async function download(request: Download): Promise<string> {
  const { endpoint, cluster, name, headers, signal, onSent, idleTimeoutMs } = request;
  const where = describeServer(endpoint.address);
  const { framedBytes = 0 } = request;
  const takesFrame =
    framedBytes > 0 && framedBytes <= FRAME_PLAIN_BYTES_MAX && (await canDecompress());
  const frame: Buffer[] = [];
  let sink: Sink | undefined;
  let sha256 = "";
  const answer = await exchange(endpoint, {
    method: "GET",
    path: `/v1/clusters/${cluster}/wal/${name.text}`,
    headers: takesFrame ? { ...headers, "Accept-Encoding": "zstd" } : headers,
    onSent,
    receive: (head) => {
      if (head.status !== 200) return undefined;
      sha256 = requireDigest(head, where);
      const file = (sink = request.open());
      const isFrame = takesFrame && head.headers.get("content-encoding") === "zstd";
      if (!isFrame) return (bytes) => file.write(bytes);
      return (bytes) => {
        frame.push(Buffer.from(bytes)); // A copy: they are only borrowed.
        file.touch?.();
      };
    },
    signal,
    idleTimeoutMs,
  });
  if (answer.status !== 200) throw failureIn(answer, where);
  if (frame.length > 0) sink?.write(await decompressed(Buffer.concat(frame), framedBytes));
  return sha256;
}

function requireDigest(head: AnswerHead, where: string): string {
  const sha256 = head.headers.get("walarc-sha256")?.toLowerCase();
  if (sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256)) return sha256;
  const hint = "is this walarc's address, or does a proxy answer in its place?";
  const why = "status 200 without the digest of the file";
  throw new WalarcError("unreachable", `${where}: ${why}`, { hint });
}
