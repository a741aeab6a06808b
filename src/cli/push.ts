import { closeSync, fstatSync } from "node:fs";
import { basename, dirname } from "node:path";
import { requireWalName, type WalName } from "../wal/name.ts";
import { describeServer, type Endpoint } from "../client/connection.ts";
import { exchange } from "../client/exchange.ts";
import { identityHeader } from "./identity.ts";
import { failureIn } from "../client/problem.ts";
import { openSourceFile, readingLocally, type SourceFile } from "../client/source-file.ts";
import { upload } from "../client/upload.ts";
import type { LookAhead } from "./look-ahead.ts";

export interface PushOptions {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  /** Knows what was archived ahead. */
  readonly lookAhead?: LookAhead | undefined;
  readonly signal: AbortSignal;
}

/** How the archive came to have the file. */
type PushWay = "ahead" | "by-name" | "sent";

/**
 * `walarc push PATH`, the archive_command. Resolves only when the archive has said that the file is
 * safe and has named the digest of exactly the bytes sent; rejects with a `WalarcError`. Never
 * retries: PostgreSQL does.
 */
export async function pushFile(path: string, options: PushOptions): Promise<PushWay> {
  const { lookAhead } = options;
  const name = requireWalName(basename(path));
  const file = openSourceFile(path);
  try {
    const way = await wayWithoutSending(name, { ...options, file });
    if (way !== undefined) return way;
    await upload({ ...options, name, file, headers: identityHeader() });
    return "sent";
  } catch (error) {
    lookAhead?.giveUp();
    throw error;
  } finally {
    closeSync(file.descriptor);
  }
}

/**
 * As `pushFile`, as far as nothing need be sent for it. Resolves to false when the file has to be
 * sent.
 */
export async function isPushedWithoutSending(path: string, options: PushOptions): Promise<boolean> {
  const name = requireWalName(basename(path));
  const file = openSourceFile(path);
  try {
    return (await wayWithoutSending(name, { ...options, file })) !== undefined;
  } finally {
    closeSync(file.descriptor);
  }
}

async function wayWithoutSending(
  name: WalName,
  options: PushOptions & { readonly file: SourceFile },
): Promise<"ahead" | "by-name" | undefined> {
  const { lookAhead, file, signal } = options;
  if (await lookAhead?.isArchived(file.descriptor, signal)) return "ahead";
  return (await isPushedByName(name, file.path, options)) ? "by-name" : undefined;
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
