/** A push whose content the daemon reads from PostgreSQL's own `pg_wal`: nothing is sent. */
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import { joinBindings, UNBOUND } from "./binding.ts";
import type { ClusterArchive } from "./cluster.ts";
import type { LocalWal } from "./local-wal.ts";
import type { LookAhead } from "./look-ahead.ts";
import { type PushResult, pushWalFile } from "./push.ts";

export interface LocalPushOptions {
  /** `device:inode:size:mtime_ns` of the file that the caller means. */
  readonly identity: string;
  readonly systemIdentifier?: string | undefined;
  readonly signal: AbortSignal;
}

/** A cluster's WAL directory on this host, and what was archived of it ahead of its calls. */
export interface LocalSource {
  readonly localWal: LocalWal;
  readonly lookAhead: LookAhead;
  /** The same bytes, as fast as the cluster may archive. */
  pace(body: AsyncIterable<Buffer>, options: { signal: AbortSignal }): AsyncIterable<Buffer>;
}

/**
 * As `pushWalFile`, at once where that very file was archived ahead. Rejects with `usage` when the
 * daemon does not see the caller's file: no data directory is configured, it cannot be read, or
 * another file has the name there.
 */
export async function pushLocalFile(
  cluster: ClusterArchive,
  name: WalName,
  options: LocalPushOptions & { source: LocalSource | undefined },
): Promise<PushResult> {
  const { source, systemIdentifier } = options;
  if (source === undefined) {
    throw new WalarcError("usage", `cluster "${cluster.name}" has no data_directory`, {
      hint: "send the file itself (PUT), or name the directory in the configuration",
    });
  }
  return await source.lookAhead.whileAsked(name, {
    systemIdentifier,
    archive: () => pushFrom(source, cluster, name, options),
  });
}

async function pushFrom(
  source: LocalSource,
  cluster: ClusterArchive,
  name: WalName,
  { identity, systemIdentifier, signal }: LocalPushOptions,
): Promise<PushResult> {
  const ahead = await source.lookAhead.take(name, { identity, signal });
  if (ahead !== undefined && isStillGood(cluster, name, systemIdentifier)) {
    return { ...ahead, isAhead: true };
  }

  await using file = await source.localWal.open(name.text);
  if (file.identity !== identity) {
    throw new WalarcError("usage", `${name.text} is another file in the data directory`, {
      hint: "is data_directory the one of the server that archives here?",
    });
  }
  const { sizeBytes } = file;
  const body = source.pace(file.chunks(), { signal });
  return await pushWalFile(cluster, name, body, { sizeBytes, systemIdentifier, signal });
}

/** Rejects with `rejected` when the caller belongs to another cluster. */
function isStillGood(cluster: ClusterArchive, name: WalName, told: string | undefined): boolean {
  joinBindings(cluster.binding, { ...UNBOUND, systemIdentifier: told }, cluster.name);
  const isInDoubt = cluster.damaged.has(name.text) || cluster.lost.has(name.text);
  return cluster.catalog.holds(name) && !isInDoubt;
}
