/** What a cluster's archive holds, for people and programs (contract, section 9). */
import type { Claimants } from "../retention/claims.ts";
import { type RetentionStatus, retentionStatus } from "../retention/overview.ts";
import type { SpoolStatus } from "../spool/status.ts";
import type { TimelineStatus } from "../wal/timeline-status.ts";
import type { ClusterArchive } from "./cluster.ts";

export interface ClusterStatus extends RetentionStatus {
  readonly cluster: string;
  readonly systemIdentifier: string | null;
  readonly segmentSizeBytes: number | null;
  readonly latest: { readonly name: string; readonly archivedAt: string | null } | null;
  readonly stored: {
    readonly files: number;
    readonly bytes: number;
    readonly plainBytes: number;
    /** The sizes are still being counted after a start: they are too low. */
    readonly counting?: true;
  };
  readonly timelines: readonly TimelineStatus[];
  /** Names whose stored object is known to be damaged or gone; push them again. */
  readonly damaged: readonly string[];
  /** Second contents refused since the daemon started. */
  readonly conflicts: number;
  /** The spools that feed the cluster, where there are any. */
  readonly spools?: readonly SpoolStatus[];
}

/** Takes as long for a million segments as for ten. */
export function statusOf(cluster: ClusterArchive, claimants: Claimants): ClusterStatus {
  const { binding, catalog, totals } = cluster;
  const latest = catalog.latest();
  return {
    cluster: cluster.name,
    systemIdentifier: binding.systemIdentifier ?? null,
    segmentSizeBytes: binding.segmentSizeBytes ?? null,
    latest:
      latest === undefined ? null : { name: latest, archivedAt: cluster.latestArrival ?? null },
    stored: {
      files: catalog.files,
      bytes: totals.storedBytes,
      plainBytes: totals.plainBytes,
      ...(totals.isComplete ? {} : { counting: true as const }),
    },
    timelines: catalog.timelines(),
    damaged: [...cluster.damaged, ...cluster.lost].sort(),
    conflicts: cluster.conflicts,
    ...retentionStatus(claimants),
  };
}
