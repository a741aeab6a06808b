/** What HTTP needs of the archive. */
import type { Page } from "../archive/listing.ts";
import type { LocalPushOptions } from "../archive/local-push.ts";
import type { PushOptions, PushResult } from "../archive/push.ts";
import type { ClusterStatus } from "../archive/status.ts";
import type { VerifiedObject } from "../object/verify.ts";
import type { Retention } from "../retention/retention.ts";
import type { WalName } from "../wal/name.ts";

/** The use cases, which `Archive` has. All reject with the failures of `errors.ts`. */
export interface WalArchive {
  push(
    cluster: string,
    name: WalName,
    body: AsyncIterable<Buffer>,
    options: PushOptions,
  ): Promise<PushResult>;

  /** Of a file in the cluster's own data directory. */
  pushLocal(cluster: string, name: WalName, options: LocalPushOptions): Promise<PushResult>;

  /** Dispose the result. */
  fetch(
    cluster: string,
    name: WalName,
    options: { systemIdentifier?: string | undefined; signal: AbortSignal },
  ): Promise<VerifiedObject>;

  page(
    cluster: string,
    options: { after?: string | undefined; limit: number; signal: AbortSignal },
  ): Promise<Page>;

  status(cluster: string, options: { signal: AbortSignal }): Promise<ClusterStatus>;

  /** Claims on the cluster's WAL, and its pruning. */
  retention(
    cluster: string,
    options: { systemIdentifier?: string | undefined; signal: AbortSignal },
  ): Promise<Retention>;

  /** Names, ascending. */
  clusters(): string[];
}
