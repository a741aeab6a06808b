/** The composition root: the one file that knows every part. */
import type { Logger } from "pino";
import { Archive, type ConfiguredCluster } from "./archive/archive.ts";
import type { Ask } from "./archive/inquiry.ts";
import { type Readiness, ReadinessProbe, roomReasons } from "./archive/readiness.ts";
import { startUpkeep } from "./archive/upkeep.ts";
import type { Config, SpoolConfig } from "./config/config.ts";
import { requireConninfo } from "./config/conninfo.ts";
import { PgWal } from "./disk/pg-wal.ts";
import { WalarcError } from "./errors.ts";
import { fillGauges } from "./gauges.ts";
import { openAccess, tokenAccess } from "./http/auth.ts";
import { listenOnSocket, listenOnTcp } from "./http/listen.ts";
import type { ServerParts } from "./http/parts.ts";
import { createServer, type HttpServer } from "./http/server.ts";
import { startLoop } from "./lifecycle.ts";
import { askServer } from "./postgres/standby-question.ts";
import { requireApart } from "./spool/apart.ts";
import type { SpoolOptions } from "./spool/handling.ts";
import { startSpool } from "./spool/running.ts";
import type { Spool } from "./spool/spool.ts";
import { DiskStore } from "./store/disk.ts";
import { LanedStore } from "./store/lanes.ts";
import { ObservedStore } from "./store/observed.ts";
import { REJECTIONS } from "./spool/status.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { VERSION } from "./version.ts";

const PROBE_INTERVAL_MS = 5_000;

/** Where a daemon listens. */
export interface Listeners {
  /** Path of the unix socket. */
  readonly socket?: string;
  /** Address and port of TCP, as bound. */
  readonly listen?: string;
  /** Whether TCP speaks TLS. */
  readonly isEncrypted?: boolean;
}

/** A daemon that serves. */
export interface Daemon extends AsyncDisposable {
  readonly listeners: Listeners;
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

  const lanes = stack.use(new LanedStore(await openStore(config)));
  const store = observe(lanes, { metrics, kind: config.store.kind });
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
  const measured = { archive, spoolsOf, readiness, storeKind: config.store.kind };
  metrics.fillFrom(() => fillGauges(metrics, measured));
  stack.use(startLoop((signal) => readiness.probe({ signal }), probing));

  stack.use(startUpkeep(archive, { log, asks: (cluster) => asksOf(config, cluster) }));

  await requireApart(config.spools.map(({ path }) => path));
  for (const spool of config.spools) {
    const running = stack.use(await startSpool(spoolOptions(spool, { archive, metrics, log })));
    spoolsOf.get(spool.cluster)?.push(running.spool);
  }

  stack.defer(() => stop.abort());

  const { shutdownGraceMs } = config.server;
  const parts = { archive, readiness: () => readiness.readiness(), metrics, log, shutdownGraceMs };
  const listeners = await listen(config, { parts, stack });
  log.info({ version: VERSION, store: config.store, ...listeners }, "walarc is serving");
  const running = stack.move();
  return {
    listeners,
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

/** All that is listened on. Two servers, since each listener has rules of its own. */
async function listen(
  config: Config,
  options: { parts: Omit<ServerParts, "access" | "listener">; stack: AsyncDisposableStack },
): Promise<Listeners> {
  const { parts, stack } = options;
  const { socket, listen: address, auth, loopbackRead } = config.server;
  const servers: HttpServer[] = [];
  // Together: there is one grace for all, and none takes requests while another ends.
  stack.defer(async () => {
    await Promise.all(servers.map((http) => http[Symbol.asyncDispose]()));
  });
  if (socket !== undefined) {
    const http = await createServer({ ...parts, access: openAccess(), listener: "socket" });
    servers.push(http);
    stack.use(await listenOnSocket(http.server, socket));
  }
  if (address === undefined) return socket === undefined ? {} : { socket: socket.path };
  const rules = { loopbackRead: loopbackRead ? "open" : "closed" } as const;
  const access = auth === "none" ? openAccess() : tokenAccess(config.tokens, rules);
  const http = await createServer({ ...parts, access, listener: "tcp" });
  servers.push(http);
  const bound = await listenOnTcp(http.server, address);
  const host = bound.host.includes(":") ? `[${bound.host}]` : bound.host;
  return {
    ...(socket === undefined ? {} : { socket: socket.path }),
    listen: `${host}:${bound.port}`,
  };
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

async function openStore(config: Config): Promise<DiskStore> {
  switch (config.store.kind) {
    case "disk":
      return DiskStore.open(config.store.path);
    case "s3":
      throw new WalarcError("usage", "this version has no S3 store");
  }
}

function observe(inner: LanedStore, options: { metrics: Metrics; kind: string }): ObservedStore {
  const { metrics, kind } = options;
  return new ObservedStore(inner, ({ operation, result, seconds }) => {
    metrics.storeSeconds.observe({ store: kind, operation, result }, seconds);
  });
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
