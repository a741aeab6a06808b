/** The composition root: the one file that knows every part. */
import type { Logger } from "pino";
import { Archive, type ConfiguredCluster } from "./archive/archive.ts";
import type { Ask } from "./archive/inquiry.ts";
import { type Readiness, ReadinessProbe, roomReasons } from "./archive/readiness.ts";
import { startUpkeep } from "./archive/upkeep.ts";
import type { Config, SpoolConfig } from "./config/config.ts";
import { requireConninfo } from "./config/conninfo.ts";
import { PgWal } from "./disk/pg-wal.ts";
import { fillGauges } from "./gauges.ts";
import { startLoop } from "./lifecycle.ts";
import { type Addresses, Listeners } from "./listeners.ts";
import { askServer } from "./postgres/standby-question.ts";
import { requireApart } from "./spool/apart.ts";
import type { SpoolOptions } from "./spool/handling.ts";
import { startSpool } from "./spool/running.ts";
import type { Spool } from "./spool/spool.ts";
import { REJECTIONS } from "./spool/status.ts";
import { observeStore, openStore } from "./stores.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { VERSION } from "./version.ts";

const PROBE_INTERVAL_MS = 5_000;

/** A daemon that serves. */
export interface Daemon extends AsyncDisposable {
  readonly listeners: Addresses;
  /** Whether a push could be stored now; from memory. */
  readiness(): Readiness;
}

/**
 * Resolves once the daemon serves. Disposing the result stops it in the reverse order of this page:
 * the listeners first, the store last.
 */
export async function startDaemon(config: Config, { log }: { log: Logger }): Promise<Daemon> {
  await using stack = new AsyncDisposableStack();
  const stop = new AbortController();
  const { signal } = stop;
  const metrics = createMetrics({ version: VERSION });

  const listeners = await Listeners.prepare(config, { log });
  const lanes = stack.use(await openStore(config, metrics));
  const store = observeStore(lanes, { metrics, kind: config.store.kind });
  const { compressionLevel } = config.store;
  const spoolsOf = new Map(config.spools.map(({ cluster }) => [cluster, new Array<Spool>()]));
  const archive = stack.use(
    await Archive.open({
      store,
      log,
      compressionLevel,
      clusters: clustersOf(config),
      spools: spoolsOf,
      signal,
    }),
  );

  const readiness = new ReadinessProbe({
    store,
    others: () => [
      ...lanes.sick().map((subject) => `storage of ${subject} does not answer`),
      ...archive.loadingClusters().map((name) => `cluster "${name}" is still being read`),
      ...[...spoolsOf.values()].flat().flatMap(spoolReasons),
    ],
  });
  const probing = { name: "readiness", intervalMs: PROBE_INTERVAL_MS, retryMsMax: 5_000, log };
  await readiness.probe({ signal });
  const { tls } = listeners;
  const measured = { archive, spoolsOf, readiness, storeKind: config.store.kind, tls };
  metrics.fillFrom(() => fillGauges(metrics, measured));
  stack.use(startLoop((signal) => readiness.probe({ signal }), probing));

  stack.use(startUpkeep(archive, { log, asks: (cluster) => asksOf(config, cluster) }));

  await requireApart(config.spools.map(({ path }) => path));
  for (const spool of config.spools) {
    const running = stack.use(await startSpool(spoolOptions(spool, { archive, metrics, log })));
    spoolsOf.get(spool.cluster)?.push(running.spool);
  }

  stack.defer(() => stop.abort());

  stack.use(listeners);
  const { shutdownGraceMs } = config.server;
  const parts = { archive, readiness: () => readiness.readiness(), metrics, log, shutdownGraceMs };
  await listeners.open(config.server, parts);
  log.info({ version: VERSION, store: config.store, ...listeners.addresses }, "walarc is serving");
  const running = stack.move();
  return {
    listeners: listeners.addresses,
    readiness: () => readiness.readiness(),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function clustersOf(config: Config): ReadonlyMap<string, ConfiguredCluster> {
  const configured = [...config.clusters].map(([name, cluster]) => {
    const { dataDirectory } = cluster;
    const localWal = dataDirectory === undefined ? undefined : new PgWal(dataDirectory);
    return [name, { ...cluster, localWal }] as const;
  });
  return new Map(configured);
}

function spoolOptions(
  spool: SpoolConfig,
  { archive, metrics, log }: { archive: Archive; metrics: Metrics; log: Logger },
): SpoolOptions {
  const { cluster } = spool;
  for (const reason of REJECTIONS) metrics.spoolRejected.inc({ cluster, reason }, 0);
  return {
    ...spool,
    log,
    push: async (name, body, options) => {
      const result = await archive.push(cluster, name, body, options);
      metrics.storedBytes.inc({ cluster }, result.storedBytes);
      return result;
    },
    count: {
      pushed: (outcome) => metrics.pushes.inc({ cluster, outcome: PUSH_LABELS[outcome] }),
      rejected: (reason) => metrics.spoolRejected.inc({ cluster, reason }),
    },
  };
}

const PUSH_LABELS = {
  archived: "archived",
  "already-archived": "already_archived",
  "kept-aside": "conflict",
  conflict: "conflict",
  rejected: "rejected",
} as const;

/** A step that has not moved for so long hangs. */
const SPOOL_SILENCE_MS_MAX = 120_000;

function spoolReasons(spool: Spool): string[] {
  const what = `the spool "${spool.path}"`;
  const { problem, waitingSince } = spool.status();
  const isSilent = spool.silentMs > SPOOL_SILENCE_MS_MAX;
  return [
    // That the store takes nothing is the store's own reason.
    ...(problem !== null && waitingSince === null ? [problem] : []),
    ...(isSilent ? [`${what} stands still for ${Math.round(spool.silentMs / 1000)} s`] : []),
    ...(spool.room === undefined ? [] : roomReasons(what, spool.room)),
  ];
}

/** How to ask those standbys of a cluster whose conninfo is configured. */
function asksOf(config: Config, cluster: string): ReadonlyMap<string, Ask> {
  const asks = new Map<string, Ask>();
  for (const [name, { conninfo }] of config.clusters.get(cluster)?.standbys ?? []) {
    if (conninfo === undefined) continue;
    const server = requireConninfo(conninfo);
    asks.set(name, (options) => askServer(server, options));
  }
  return asks;
}
