/** The spools of a daemon: what they drain into, and their coming and going while it serves. */
import type { Logger } from "pino";
import type { Archive } from "./archive/archive.ts";
import { type Reason, roomReasons } from "./archive/readiness.ts";
import type { SpoolConfig } from "./config/config.ts";
import { requireApart } from "./spool/apart.ts";
import { SpoolDirectory } from "./spool/directory.ts";
import type { SpoolOptions } from "./spool/handling.ts";
import { type RunningSpool, startSpool } from "./spool/running.ts";
import type { Spool } from "./spool/spool.ts";
import { REJECTIONS } from "./spool/status.ts";
import { isFailure } from "./errors.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** What spools drain into, and who is told. */
export interface SpoolSurroundings {
  readonly archive: Pick<Archive, "push">;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export class Spools implements AsyncDisposable {
  /** By cluster; one whose spools have not started yet has an empty list. */
  readonly byCluster = new Map<string, Spool[]>();
  readonly #running = new Map<string, { config: SpoolConfig; running: RunningSpool }>();

  constructor(configs: readonly SpoolConfig[]) {
    this.expect(configs);
  }

  /** Makes their clusters known, before the archive looks for those that spools feed. */
  expect(configs: readonly SpoolConfig[]): void {
    for (const { cluster } of configs) {
      if (!this.byCluster.has(cluster)) this.byCluster.set(cluster, []);
    }
  }

  /**
   * Rejects with `usage` when two are one directory, or nobody should drain one that is not drained
   * yet. Trouble that may pass is none here.
   */
  async check(configs: readonly SpoolConfig[]): Promise<void> {
    await requireApart(configs.map(({ path }) => path));
    for (const { path } of configs) {
      if (this.#running.has(path)) continue;
      await new SpoolDirectory(path).requireUsable().catch((error: unknown) => {
        if (!isFailure(error, "local")) throw error;
      });
    }
  }

  /**
   * Drains these and no others. A spool that stays as it was is not touched; of one that goes, what
   * is under way is left for later.
   */
  async replace(configs: readonly SpoolConfig[], around: SpoolSurroundings): Promise<void> {
    const wanted = new Map(configs.map((config) => [config.path, config]));
    for (const [path, { config, running }] of this.#running) {
      if (isSame(config, wanted.get(path))) continue;
      this.#running.delete(path);
      await running[Symbol.asyncDispose]();
    }
    for (const config of configs) {
      if (this.#running.has(config.path)) continue;
      const running = await startSpool(spoolOptions(config, around));
      this.#running.set(config.path, { config, running });
    }
    this.#sort(configs);
  }

  /** Why the daemon is not ready, as far as spools are concerned. */
  reasons(): Reason[] {
    return [...this.byCluster].flatMap(([cluster, spools]) => {
      return spools.flatMap(reasonsOf).map((text) => ({ text, cluster }));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(all.map(({ running }) => running[Symbol.asyncDispose]()));
  }

  #sort(configs: readonly SpoolConfig[]): void {
    const clusters = new Set(configs.map(({ cluster }) => cluster));
    for (const name of this.byCluster.keys()) if (!clusters.has(name)) this.byCluster.delete(name);
    for (const name of clusters) {
      const own = [...this.#running.values()].filter(({ config }) => config.cluster === name);
      this.byCluster.set(
        name,
        own.map(({ running }) => running.spool),
      );
    }
  }
}

function isSame(one: SpoolConfig, other: SpoolConfig | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function spoolOptions(
  spool: SpoolConfig,
  { archive, metrics, log }: SpoolSurroundings,
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

function reasonsOf(spool: Spool): string[] {
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
