/** One WAL file asked of the archive, and where its bytes go. */
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import type { AnswerHead } from "./answer.ts";
import { describeServer, type Endpoint } from "./connection.ts";
import { exchange } from "./exchange.ts";
import { failureIn } from "./problem.ts";

export interface Download {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly name: WalName;
  /** Such as the caller's system identifier. */
  readonly headers: Readonly<Record<string, string>>;
  /** Called once the archive has begun to answer with the file. */
  readonly open: () => { write(bytes: Buffer): void };
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
  let sha256 = "";
  const answer = await exchange(endpoint, {
    method: "GET",
    path: `/v1/clusters/${cluster}/wal/${name.text}`,
    headers,
    onSent,
    receive: (head) => {
      if (head.status !== 200) return undefined;
      sha256 = requireDigest(head, where);
      const sink = request.open();
      return (bytes) => sink.write(bytes);
    },
    signal,
    idleTimeoutMs,
  });
  if (answer.status !== 200) throw failureIn(answer, where);
  return sha256;
}

function requireDigest(head: AnswerHead, where: string): string {
  const sha256 = head.headers.get("walarc-sha256")?.toLowerCase();
  if (sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256)) return sha256;
  const hint = "is this walarc's address, or does a proxy answer in its place?";
  const why = "status 200 without the digest of the file";
  throw new WalarcError("unreachable", `${where}: ${why}`, { hint });
}
