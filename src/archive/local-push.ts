/** A push whose content the daemon reads from PostgreSQL's own `pg_wal`: nothing is sent. */
import { WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import type { ClusterArchive } from "./cluster.ts";
import { type PushResult, pushWalFile } from "./push.ts";

/** What a cluster's own WAL directory has to offer; `disk/pg-wal.ts` has it. */
export interface LocalWal {
  open(name: string): Promise<
    AsyncDisposable & {
      readonly sizeBytes: number;
      readonly identity: string;
      chunks(): AsyncIterable<Buffer>;
    }
  >;
}

export interface LocalPushOptions {
  /** `device:inode:size:mtime_ns` of the file that the caller means. */
  readonly identity: string;
  readonly systemIdentifier?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * As `pushWalFile`. Rejects with `usage` when the daemon does not see the caller's file: no data
 * directory is configured, it cannot be read, or another file has the name there.
 */
export async function pushLocalFile(
  cluster: ClusterArchive,
  name: WalName,
  options: LocalPushOptions & { localWal: LocalWal | undefined },
): Promise<PushResult> {
  const { localWal, identity, systemIdentifier, signal } = options;
  if (localWal === undefined) {
    throw new WalarcError("usage", `cluster "${cluster.name}" has no data_directory`, {
      hint: "send the file itself (PUT), or name the directory in the configuration",
    });
  }
  await using file = await localWal.open(name.text);
  if (file.identity !== identity) {
    throw new WalarcError("usage", `${name.text} is another file in the data directory`, {
      hint: "is data_directory the one of the server that archives here?",
    });
  }
  const { sizeBytes } = file;
  return await pushWalFile(cluster, name, file.chunks(), { sizeBytes, systemIdentifier, signal });
}
