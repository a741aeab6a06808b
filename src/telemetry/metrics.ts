/** Everything walarc measures, in one object with its own registry. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export const PUSH_OUTCOMES = [
  "archived",
  "already_archived",
  "conflict",
  "rejected",
  "denied",
  "failed",
] as const;
export type PushOutcomeLabel = (typeof PUSH_OUTCOMES)[number];

export const FETCH_OUTCOMES = ["served", "absent", "gap", "corrupt", "denied", "failed"] as const;
export type FetchOutcomeLabel = (typeof FETCH_OUTCOMES)[number];

/** From an answer out of memory to the client's whole deadline. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** From a cached read to the patience of a lane. */
const STORE_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];

/** Gauges with a counter's suffix; the same numbers stand by type in the gauges without it. */
const MISNAMED = ["handles", "requests", "resources"].map((what) => `nodejs_active_${what}_total`);

export type Metrics = ReturnType<typeof createMetrics>;

/**
 * All metrics. Label values are cluster, standby and hold names that exist, and closed sets; a name
 * that a refused request made up never becomes one.
 */
export function createMetrics(options: { version: string }) {
  const registry = new Registry();
  // Memory, CPU and open files under their customary names. The event loop is sampled rarely: an
  // idle daemon should not wake a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const buildInfo = new Gauge({
    name: "walarc_build_info",
    help: "Always 1; the version of the running daemon is its label",
    labelNames: ["version"],
    registers: [registry],
  });
  buildInfo.set({ version: options.version }, 1);

  const traffic = createTrafficMetrics(registry);
  const gauges = createStateGauges(registry);
  const fills: (() => void)[] = [];
  return {
    ...traffic,
    ...gauges,
    contentType: registry.contentType,

    /** Shows the cluster's counters from zero, so that their first increase is seen as one. */
    startCounting(cluster: string): void {
      for (const outcome of PUSH_OUTCOMES) traffic.pushes.inc({ cluster, outcome }, 0);
      for (const outcome of FETCH_OUTCOMES) traffic.fetches.inc({ cluster, outcome }, 0);
      for (const counter of [traffic.receivedBytes, traffic.storedBytes, traffic.prunedSegments]) {
        counter.inc({ cluster }, 0);
      }
    },

    /**
     * Registers who sets the state gauges. Called before each exposition, after they were emptied,
     * so what is gone vanishes. It must answer from memory: monitoring waits for no store.
     */
    fillFrom(fill: () => void): void {
      fills.push(fill);
    },

    /** The page that Prometheus reads. */
    async exposition(): Promise<string> {
      for (const gauge of Object.values(gauges)) gauge.reset();
      for (const fill of fills) fill();
      return registry.metrics();
    },
  };
}

/** What requests, the store and loops count as they go. */
function createTrafficMetrics(registry: Registry) {
  const registers = [registry];
  return {
    pushes: new Counter({
      name: "walarc_push_total",
      help: "Pushes ended, by outcome",
      labelNames: ["cluster", "outcome"],
      registers,
    }),
    pushSeconds: new Histogram({
      name: "walarc_push_duration_seconds",
      help: "Time from a push's first byte to its acknowledgement",
      labelNames: ["cluster"],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    fetches: new Counter({
      name: "walarc_fetch_total",
      help: "Fetches ended, by outcome",
      labelNames: ["cluster", "outcome"],
      registers,
    }),
    fetchSeconds: new Histogram({
      name: "walarc_fetch_duration_seconds",
      help: "Time from a fetch's request to the last byte of the WAL file",
      labelNames: ["cluster"],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    receivedBytes: new Counter({
      name: "walarc_received_bytes_total",
      help: "Bytes of push bodies as they came over the wire",
      labelNames: ["cluster"],
      registers,
    }),
    storedBytes: new Counter({
      name: "walarc_stored_bytes_total",
      help: "Bytes of objects as they were written to the store",
      labelNames: ["cluster"],
      registers,
    }),
    prunedSegments: new Counter({
      name: "walarc_pruned_segments_total",
      help: "Segments that retention removed",
      labelNames: ["cluster"],
      registers,
    }),
    spoolRejected: new Counter({
      name: "walarc_spool_rejected_total",
      help: "Spool files set aside because they cannot be archived, by reason",
      labelNames: ["cluster", "reason"],
      registers,
    }),
    reloadSuccessful: new Gauge({
      name: "walarc_config_last_reload_successful",
      help: "1 when the last attempt to reload the configuration was successful, else 0",
      registers,
    }),
    reloadSuccessTime: new Gauge({
      name: "walarc_config_last_reload_success_timestamp_seconds",
      help: "When the configuration was last loaded, in seconds since 1970",
      registers,
    }),
    storeSeconds: new Histogram({
      name: "walarc_store_operation_duration_seconds",
      help: "Time of store operations",
      labelNames: ["store", "operation", "result"],
      buckets: STORE_SECONDS,
      registers,
    }),
    s3Requests: new Counter({
      name: "walarc_s3_requests_total",
      help: "S3 requests ended, by type",
      labelNames: ["request", "result"],
      registers,
    }),
    s3Seconds: new Histogram({
      name: "walarc_s3_request_duration_seconds",
      help: "Time of S3 requests, body included",
      labelNames: ["request"],
      buckets: STORE_SECONDS,
      registers,
    }),
  };
}

/** What is true at the moment of asking. Emptied and filled anew for each exposition. */
function createStateGauges(registry: Registry) {
  function gauge<Label extends string>(name: string, help: string, labelNames: readonly Label[]) {
    return new Gauge<Label>({ name, help, labelNames, registers: [registry] });
  }
  return {
    ready: gauge("walarc_ready", "1 when a push could be stored now, as /readyz says, else 0", []),
    storeFreeBytes: gauge("walarc_store_free_bytes", "Bytes that the store's disk has left", [
      "store",
    ]),
    storeSizeBytes: gauge("walarc_store_size_bytes", "Size of the store's disk", ["store"]),
    lastArchived: gauge(
      "walarc_last_archived_timestamp_seconds",
      "Arrival of the newest archived segment, in seconds since 1970",
      ["cluster"],
    ),
    archiveSegments: gauge("walarc_archive_segments", "Segments archived", ["cluster"]),
    archiveBytes: gauge("walarc_archive_bytes", "Bytes of archived objects as stored", ["cluster"]),
    gapSegments: gauge(
      "walarc_gap_segments",
      "Missing segments of timelines that have later segments archived",
      ["cluster"],
    ),
    pruneAge: gauge(
      "walarc_prune_age_seconds",
      "Time served since the last prune that ended well, automatic or not",
      ["cluster"],
    ),
    pruneInterval: gauge(
      "walarc_prune_interval_seconds",
      "How often the daemon prunes by itself, as configured",
      ["cluster"],
    ),
    standbys: gauge("walarc_standbys", "Standbys that are known", ["cluster"]),
    standbyReportAge: gauge(
      "walarc_standby_report_age_seconds",
      "Time since the standby last reported a restart point",
      ["cluster", "standby"],
    ),
    standbyHeldBytes: gauge(
      "walarc_standby_held_bytes",
      "Plain bytes of WAL from the standby's restart point on",
      ["cluster", "standby"],
    ),
    standbyStale: gauge(
      "walarc_standby_stale",
      "1 when the standby has been silent for longer than stale_after, else 0",
      ["cluster", "standby"],
    ),
    horizonHeldBy: gauge("walarc_horizon_held_by", "1 for each claim that holds the horizon", [
      "cluster",
      "kind",
      "name",
    ]),
    spoolFiles: gauge("walarc_spool_files", "WAL files waiting in the spool", ["cluster"]),
    spoolOldestAge: gauge(
      "walarc_spool_oldest_age_seconds",
      "Age of the oldest WAL file waiting in the spool, 0 when none is",
      ["cluster"],
    ),
    spoolFreeBytes: gauge(
      "walarc_spool_free_bytes",
      "Bytes that the spool's disk has left, of several spools the fullest one's",
      ["cluster"],
    ),
    spoolSizeBytes: gauge("walarc_spool_size_bytes", "Size of that disk", ["cluster"]),
    tlsExpiry: gauge(
      "walarc_tls_certificate_expiry_timestamp_seconds",
      "When the first certificate of the file in use expires, in seconds since 1970",
      ["certificate"],
    ),
    tlsCurrent: gauge(
      "walarc_tls_certificate_current",
      "1 when the certificate in use is the one in the files, 0 when those cannot be used",
      ["certificate"],
    ),
  };
}
