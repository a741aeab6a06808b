import { createHash, type Hash } from "node:crypto";
import { closeSync, fstatSync } from "node:fs";
import { basename, dirname } from "node:path";
import { WalarcError } from "../errors.ts";
import { requireWalName, type WalName } from "../wal/name.ts";
import { describeServer, type Endpoint } from "../client/connection.ts";
import { exchange, type RequestBody } from "../client/exchange.ts";
import { identityHeader } from "./identity.ts";
import { failureIn } from "../client/problem.ts";
import {
  openSourceFile,
  readingLocally,
  readSource,
  requireUnchanged,
  type SourceFile,
} from "../client/source-file.ts";

/**
 * `walarc push PATH`, the archive_command. Resolves only when the archive has said that the file is
 * safe and has named the digest of exactly the bytes sent; rejects with a `WalarcError`. Never
 * retries: PostgreSQL does.
 */
export async function pushFile(
  path: string,
  options: { readonly endpoint: Endpoint; readonly cluster: string; readonly signal: AbortSignal },
): Promise<void> {
  const name = requireWalName(basename(path));
  const file = openSourceFile(path);
  try {
    if (await isPushedByName(name, path, { ...options, file })) return;
    const sha256 = createHash("sha256");
    const answer = await exchange(options.endpoint, {
      method: "PUT",
      path: `/v1/clusters/${options.cluster}/wal/${name.text}`,
      headers: identityHeader(),
      body: readingBody(file, sha256),
      signal: options.signal,
    });
    const where = describeServer(options.endpoint.address);
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
  } finally {
    closeSync(file.descriptor);
  }
}

/**
 * A daemon on this host may read the file itself: the request then names it, and proves which file
 * it means. False when the daemon does not see this very file; then it has to be sent.
 */
async function isPushedByName(
  name: WalName,
  path: string,
  options: { endpoint: Endpoint; cluster: string; signal: AbortSignal; file: SourceFile },
): Promise<boolean> {
  const { endpoint, cluster, signal, file } = options;
  const identity = identityHeader();
  const isInDataDirectory =
    "Walarc-System-Identifier" in identity && basename(dirname(path)) === "pg_wal";
  if (endpoint.address.kind !== "unix" || !isInDataDirectory) return false;
  const { dev, ino, size, mtimeNs } = readingLocally(path, () =>
    fstatSync(file.descriptor, { bigint: true }),
  );
  const answer = await exchange(endpoint, {
    method: "POST",
    path: `/v1/clusters/${cluster}/wal/${name.text}`,
    headers: {
      ...identity,
      "Walarc-File": `${dev}:${ino}:${size}:${mtimeNs}`,
      "Content-Length": "0",
    },
    signal,
  });
  const isAccepted = answer.status === 200 || answer.status === 201;
  if (isAccepted) return answer.headers.get("walarc-sha256") !== undefined;
  // Everything else is said again, and better, when the file was sent.
  const isFinal = answer.status === 409 || answer.status === 503 || answer.status === 507;
  if (isFinal) throw failureIn(answer, describeServer(endpoint.address), ["absent", "gap"]);
  return false;
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
