/** What is true at the moment of asking. From memory alone: an exposition waits for nothing. */
import type { Archive } from "./archive/archive.ts";
import type { ReadinessProbe } from "./archive/readiness.ts";
import type { TlsStatus } from "./http/tls-identity.ts";
import { standbysOf } from "./retention/claims.ts";
import { retentionStatus, standbyStatuses } from "./retention/overview.ts";
import type { Retention } from "./retention/retention.ts";
import type { Spool } from "./spool/spool.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** What the gauges are about. */
export interface Measured {
  readonly archive: Pick<Archive, "loadedClusters">;
  readonly spoolsOf: ReadonlyMap<string, readonly Spool[]>;
  readonly readiness: Pick<ReadinessProbe, "readiness" | "room">;
  readonly storeKind: string;
  /** Where TCP speaks TLS. */
  readonly tls?: { readonly status: TlsStatus } | undefined;
}

/**
 * Of one cluster so many standbys and holds have series of their own, those that hold most. Whoever
 * may report can make up names without end, and each would stay with Prometheus.
 */
export const NAMED_MAX = 100;

/** Sets every state gauge anew. */
export function fillGauges(metrics: Metrics, measured: Measured): void {
  const { archive, spoolsOf, readiness, storeKind: store } = measured;
  metrics.ready.set(readiness.readiness().ready ? 1 : 0);
  const { freeBytes, totalBytes } = readiness.room ?? {};
  if (freeBytes !== undefined) metrics.storeFreeBytes.set({ store }, freeBytes);
  if (totalBytes !== undefined) metrics.storeSizeBytes.set({ store }, totalBytes);
  for (const loaded of archive.loadedClusters()) {
    const { name: cluster, catalog, totals, latestArrival, retention } = loaded;
    metrics.startCounting(cluster);
    if (latestArrival !== undefined) {
      metrics.lastArchived.set({ cluster }, Date.parse(latestArrival) / 1000);
    }
    metrics.archiveSegments.set({ cluster }, catalog.segments);
    metrics.archiveBytes.set({ cluster }, totals.storedBytes);
    metrics.gapSegments.set({ cluster }, catalog.gapSegments);
    fillRetention(metrics, cluster, retention);
  }
  for (const [cluster, spools] of spoolsOf) fillSpools(metrics, cluster, spools);
  if (measured.tls !== undefined) fillTls(metrics, measured.tls.status);
}

function fillTls(metrics: Metrics, status: TlsStatus): void {
  const { expiresAtMs, clientCaExpiresAtMs, isCurrent } = status;
  metrics.tlsExpiry.set({ certificate: "server" }, expiresAtMs / 1000);
  if (clientCaExpiresAtMs !== undefined) {
    metrics.tlsExpiry.set({ certificate: "client_ca" }, clientCaExpiresAtMs / 1000);
  }
  metrics.tlsCurrent.set({ certificate: "server" }, isCurrent ? 1 : 0);
}

function fillRetention(metrics: Metrics, cluster: string, retention: Retention): void {
  metrics.prunedSegments.inc({ cluster }, retention.takePrunedSegments());
  const { known, sincePruneMs } = retention.register;
  if (known === undefined) return;
  metrics.pruneAge.set({ cluster }, sincePruneMs / 1000);
  metrics.pruneInterval.set({ cluster }, retention.intervalMs / 1000);

  const statuses = standbyStatuses(known, retention.register);
  metrics.standbys.set({ cluster }, statuses.length);
  const named = statuses.toSorted((a, b) => b.heldBytes - a.heldBytes).slice(0, NAMED_MAX);
  const standbys = new Map(standbysOf(known).map((standby) => [standby.name, standby]));
  for (const { name: standby, heldBytes, stale } of named) {
    metrics.standbyHeldBytes.set({ cluster, standby }, heldBytes);
    metrics.standbyStale.set({ cluster, standby }, stale ? 1 : 0);
    const { record, silentMs = 0 } = standbys.get(standby) ?? {};
    if (record !== undefined) metrics.standbyReportAge.set({ cluster, standby }, silentMs / 1000);
  }
  for (const { kind, name } of retentionStatus(known).heldBy.slice(0, NAMED_MAX)) {
    metrics.horizonHeldBy.set({ cluster, kind, name }, 1);
  }
}

function fillSpools(metrics: Metrics, cluster: string, spools: readonly Spool[]): void {
  const all = spools.map((spool) => spool.status());
  const oldest = Math.max(0, ...all.map(({ oldestAgeSeconds }) => oldestAgeSeconds));
  metrics.spoolFiles.set(
    { cluster },
    all.reduce((sum, { files }) => sum + files, 0),
  );
  metrics.spoolOldestAge.set({ cluster }, oldest);
  // Of several spools the one that is full first counts.
  const rooms = spools.flatMap(({ room }) => (room === undefined ? [] : [room]));
  const [least] = rooms.toSorted((a, b) => a.freeBytes / a.totalBytes - b.freeBytes / b.totalBytes);
  if (least === undefined) return;
  metrics.spoolFreeBytes.set({ cluster }, least.freeBytes);
  metrics.spoolSizeBytes.set({ cluster }, least.totalBytes);
}
