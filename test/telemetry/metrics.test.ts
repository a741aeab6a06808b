import { describe, expect, test } from "vitest";
import { createMetrics } from "../../src/telemetry/metrics.ts";

/** Names, types and labels that operators' alerts and dashboards build on. */
const PROMISED: Readonly<Record<string, [type: string, labels: readonly string[]]>> = {
  walarc_build_info: ["gauge", ["version"]],
  walarc_ready: ["gauge", []],
  walarc_store_free_bytes: ["gauge", ["store"]],
  walarc_store_size_bytes: ["gauge", ["store"]],
  walarc_prune_age_seconds: ["gauge", ["cluster"]],
  walarc_prune_interval_seconds: ["gauge", ["cluster"]],
  walarc_standbys: ["gauge", ["cluster"]],
  walarc_spool_free_bytes: ["gauge", ["cluster"]],
  walarc_spool_size_bytes: ["gauge", ["cluster"]],
  walarc_push_total: ["counter", ["cluster", "outcome"]],
  walarc_push_duration_seconds: ["histogram", ["cluster"]],
  walarc_fetch_duration_seconds: ["histogram", ["cluster"]],
  walarc_fetch_total: ["counter", ["cluster", "outcome"]],
  walarc_received_bytes_total: ["counter", ["cluster"]],
  walarc_stored_bytes_total: ["counter", ["cluster"]],
  walarc_last_archived_timestamp_seconds: ["gauge", ["cluster"]],
  walarc_archive_segments: ["gauge", ["cluster"]],
  walarc_archive_bytes: ["gauge", ["cluster"]],
  walarc_gap_segments: ["gauge", ["cluster"]],
  walarc_standby_report_age_seconds: ["gauge", ["cluster", "standby"]],
  walarc_standby_held_bytes: ["gauge", ["cluster", "standby"]],
  walarc_standby_stale: ["gauge", ["cluster", "standby"]],
  walarc_horizon_held_by: ["gauge", ["cluster", "kind", "name"]],
  walarc_pruned_segments_total: ["counter", ["cluster"]],
  walarc_spool_files: ["gauge", ["cluster"]],
  walarc_spool_oldest_age_seconds: ["gauge", ["cluster"]],
  walarc_spool_rejected_total: ["counter", ["cluster", "reason"]],
  walarc_config_last_reload_successful: ["gauge", []],
  walarc_config_last_reload_success_timestamp_seconds: ["gauge", []],
  walarc_tls_certificate_expiry_timestamp_seconds: ["gauge", ["certificate"]],
  walarc_tls_certificate_current: ["gauge", ["certificate"]],
  walarc_store_operation_duration_seconds: ["histogram", ["store", "operation", "result"]],
  walarc_s3_requests_total: ["counter", ["request", "result"]],
  walarc_s3_request_duration_seconds: ["histogram", ["request"]],
};

describe("the metrics page", () => {
  test("has the promised metrics, with their types and a help text, and no others of ours", async () => {
    const page = await createMetrics({ version: "1.2.3" }).exposition();
    const types = [...page.matchAll(/^# TYPE (walarc_\S+) (\S+)$/gm)];
    expect(Object.fromEntries(types.map(([, name, type]) => [name, type]))).toEqual(
      Object.fromEntries(Object.entries(PROMISED).map(([name, [type]]) => [name, type])),
    );
    expect(page.match(/^# HELP walarc_\S+ \S.+$/gm)).toHaveLength(types.length);
    expect(page).toContain('walarc_build_info{version="1.2.3"} 1');
  });

  test("takes the promised labels", async () => {
    const metrics = createMetrics({ version: "1.2.3" });
    const cluster = "main";
    metrics.pushes.inc({ cluster, outcome: "archived" });
    metrics.fetches.inc({ cluster, outcome: "served" });
    metrics.spoolRejected.inc({ cluster, reason: "name" });
    metrics.prunedSegments.inc({ cluster });
    metrics.receivedBytes.inc({ cluster });
    metrics.storedBytes.inc({ cluster });
    metrics.pushSeconds.observe({ cluster }, 1);
    metrics.fetchSeconds.observe({ cluster }, 1);
    metrics.storeSeconds.observe({ store: "disk", operation: "stat", result: "ok" }, 1);
    metrics.s3Requests.inc({ request: "put", result: "ok" });
    metrics.s3Seconds.observe({ request: "put" }, 1);
    metrics.fillFrom(() => {
      const standby = "s1";
      metrics.ready.set(1);
      metrics.storeFreeBytes.set({ store: "disk" }, 1);
      metrics.storeSizeBytes.set({ store: "disk" }, 1);
      metrics.pruneAge.set({ cluster }, 1);
      metrics.pruneInterval.set({ cluster }, 1);
      metrics.standbys.set({ cluster }, 1);
      metrics.spoolFreeBytes.set({ cluster }, 1);
      metrics.spoolSizeBytes.set({ cluster }, 1);
      metrics.tlsExpiry.set({ certificate: "server" }, 1);
      metrics.tlsCurrent.set({ certificate: "server" }, 1);
      metrics.lastArchived.set({ cluster }, 1);
      metrics.archiveSegments.set({ cluster }, 1);
      metrics.archiveBytes.set({ cluster }, 1);
      metrics.gapSegments.set({ cluster }, 1);
      metrics.standbyReportAge.set({ cluster, standby }, 1);
      metrics.standbyHeldBytes.set({ cluster, standby }, 1);
      metrics.standbyStale.set({ cluster, standby }, 1);
      metrics.horizonHeldBy.set({ cluster, kind: "standby", name: standby }, 1);
      metrics.spoolFiles.set({ cluster }, 1);
      metrics.spoolOldestAge.set({ cluster }, 1);
    });
    const page = await metrics.exposition();
    for (const [name, [type, labels]] of Object.entries(PROMISED)) {
      const line = page
        .split("\n")
        .find((text) => text.startsWith(type === "histogram" ? `${name}_sum{` : `${name}{`));
      const found = [...(line ?? "").matchAll(/(\w+)="/g)].map(([, label]) => label);
      expect([name, new Set(found)]).toEqual([name, new Set(labels)]);
    }
  });

  test("forgets what is gone, and keeps what was counted", async () => {
    const metrics = createMetrics({ version: "1.2.3" });
    let standbys = ["s1", "s2"];
    metrics.fillFrom(() => {
      for (const standby of standbys) metrics.standbyStale.set({ cluster: "main", standby }, 0);
    });
    metrics.pushes.inc({ cluster: "main", outcome: "archived" });
    expect(await metrics.exposition()).toContain('standby="s1"');
    standbys = ["s2"];
    const page = await metrics.exposition();
    expect(page).not.toContain('standby="s1"');
    expect(page).toContain('standby="s2"');
    expect(page).toContain('walarc_push_total{cluster="main",outcome="archived"} 1');
  });

  test("shows a cluster's counters from zero, and that again does no harm", async () => {
    const metrics = createMetrics({ version: "1.2.3" });
    metrics.startCounting("main");
    metrics.pushes.inc({ cluster: "main", outcome: "failed" });
    metrics.startCounting("main");
    const page = await metrics.exposition();
    for (const outcome of ["archived", "already_archived", "conflict", "rejected", "denied"]) {
      expect(page).toContain(`walarc_push_total{cluster="main",outcome="${outcome}"} 0`);
    }
    expect(page).toContain('walarc_push_total{cluster="main",outcome="failed"} 1');
    expect(page).toContain('walarc_fetch_total{cluster="main",outcome="served"} 0');
  });
});
