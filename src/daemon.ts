/** The composition root: the one file that knows every part. */
import type { Logger } from "pino";
import { Archive } from "./archive/archive.ts";
import type { ConfiguredCluster } from "./archive/configured.ts";
import type { Ask } from "./archive/inquiry.ts";
import { type Readiness, ReadinessProbe } from "./archive/readiness.ts";
import { startUpkeep } from "./archive/upkeep.ts";
import type { Config } from "./config/config.ts";
import { requireConninfo } from "./config/conninfo.ts";
import { PgWal } from "./disk/pg-wal.ts";
import { fillGauges } from "./gauges.ts";
import { startLoop } from "./lifecycle.ts";
import { type Addresses, Listeners } from "./listeners.ts";
import { askServer } from "./postgres/standby-question.ts";
import { Reloading } from "./reload.ts";
import { Spools } from "./spools.ts";
import { observeStore, openStore } from "./stores.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { VERSION } from "./version.ts";

const PROBE_INTERVAL_MS = 5_000;

/** A daemon that serves. */
export interface Daemon extends AsyncDisposable {
  readonly listeners: Addresses;
  /** Whether a push could be stored now; from memory. */
  readiness(): Readiness;
  /**
   * Takes over the configuration that `read` resolves to, or keeps the old one when it cannot be
   * used; says which in the log. Not to be called while it is under way.
   */
  reload(read: () => Promise<Config>): Promise<void>;
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
  const spools = new Spools(config.spools);
  const archive = stack.use(
    await Archive.open({
      store,
      log,
      compressionLevel,
      clusters: clustersOf(config),
      spools: spools.byCluster,
      signal,
    }),
  );

  const readiness = new ReadinessProbe({
    store,
    others: () => [
      ...lanes.sick().map(({ subject, cluster }) => {
        return { text: `storage of ${subject} does not answer`, cluster };
      }),
      ...archive.loadingClusters().map((cluster) => {
        return { text: `cluster "${cluster}" is still being read`, cluster };
      }),
      ...spools.reasons(),
    ],
  });
  const probing = { name: "readiness", intervalMs: PROBE_INTERVAL_MS, retryMsMax: 5_000, log };
  await readiness.probe({ signal });
  const { tls } = listeners;
  const measured = {
    archive,
    spoolsOf: spools.byCluster,
    readiness,
    storeKind: config.store.kind,
    tls,
  };
  metrics.fillFrom(() => fillGauges(metrics, measured));
  stack.use(startLoop((signal) => readiness.probe({ signal }), probing));

  // Asked when it is needed: another configuration may have taken the place of the first.
  const current = { config };
  const asks = (cluster: string) => asksOf(current.config, cluster);
  const upkeep = stack.use(startUpkeep(archive, { log, asks }));
  const parts = { listeners, archive, upkeep, spools, metrics, log, clustersOf };
  const reloading = new Reloading(current, parts);

  stack.use(spools);
  await spools.check(config.spools);
  await spools.replace(config.spools, { archive, metrics, log });

  stack.defer(() => stop.abort());

  stack.use(listeners);
  const { shutdownGraceMs } = config.server;
  const served = { archive, readiness: () => readiness.readiness(), metrics, log, shutdownGraceMs };
  await listeners.open(config.server, served);
  log.info({ version: VERSION, store: config.store, ...listeners.addresses }, "walarc is serving");
  const running = stack.move();
  return {
    listeners: listeners.addresses,
    readiness: () => readiness.readiness(),
    reload: (read) => reloading.reload(read),
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
