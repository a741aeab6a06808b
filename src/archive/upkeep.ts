/**
 * What every cluster needs from time to time: retention, asking its standbys, and, where other
 * daemons use the store as well, learning what they did.
 */
import { startLoop } from "../lifecycle.ts";
import type { Archive } from "./archive.ts";
import type { ClusterArchive } from "./cluster.ts";
import { type Ask, Inquiry } from "./inquiry.ts";

export interface UpkeepOptions {
  readonly log: { warn(fields: object, message: string): void };
  /** How to ask the standbys of a cluster, by name; those that report themselves are not there. */
  readonly asks: (cluster: string) => ReadonlyMap<string, Ask>;
}

/** New clusters are looked for, and clocks looked at, so often. */
const LOOK_INTERVAL_MS = 1000;
/** So long a failing store is left alone at most. */
const RETRY_MS_MAX = 60_000;
/** Retention looks so often whether there is anything to do. */
const STEP_INTERVAL_MS_MAX = 5000;
/** What other daemons do shows here so much later at most, but for what comes out of order. */
const OTHERS_INTERVAL_MS = 20_000;

export interface Upkeep extends AsyncDisposable {
  /**
   * Ends the steps under way and resolves when they have ended; the clusters that are served then
   * are begun with anew. To be called around a change of what is configured.
   */
  pause(): Promise<{ goOn(): void }>;
}

/** Starts it for the clusters there are, and for each new one. Disposing it waits for its steps. */
export function startUpkeep(archive: Archive, options: UpkeepOptions): Upkeep {
  let loops = new AsyncDisposableStack();
  const known = new Set<ClusterArchive>();
  let isPaused = false;
  const look = async () => {
    if (isPaused) return;
    // Not those that a first push has only begun to make, and that may vanish again.
    const names = new Set(archive.clusters());
    for (const cluster of archive.loadedClusters()) {
      if (!names.has(cluster.name)) continue;
      cluster.retention.register.tick();
      if (known.has(cluster)) continue;
      known.add(cluster);
      startFor(cluster, options, loops);
    }
  };
  const { log } = options;
  const timing = { intervalMs: LOOK_INTERVAL_MS, retryMsMax: LOOK_INTERVAL_MS };
  const looking = startLoop(look, { name: "upkeep", ...timing, log });
  const others = { name: "clusters of others", intervalMs: OTHERS_INTERVAL_MS };
  const discovering = archive.isShared
    ? startLoop((signal) => archive.discover({ signal }), { ...timing, ...others, log })
    : undefined;
  return {
    pause: async () => {
      isPaused = true;
      const ended = loops;
      loops = new AsyncDisposableStack();
      known.clear();
      await ended.disposeAsync();
      return {
        goOn: () => {
          isPaused = false;
          looking.ring();
        },
      };
    },
    [Symbol.asyncDispose]: async () => {
      await looking[Symbol.asyncDispose]();
      await discovering?.[Symbol.asyncDispose]();
      await loops.disposeAsync();
    },
  };
}

function startFor(
  cluster: ClusterArchive,
  { log, asks }: UpkeepOptions,
  loops: AsyncDisposableStack,
): void {
  const { intervalMs: pruneIntervalMs } = cluster.retention;
  const start = (
    name: string,
    intervalMs: number,
    step: (signal: AbortSignal) => Promise<void>,
  ) => {
    loops.use(startLoop(step, { name, intervalMs, retryMsMax: RETRY_MS_MAX, log }));
  };
  for (const [standby, ask] of asks(cluster.name)) {
    const inquiry = new Inquiry(cluster, standby, ask);
    const name = `question to ${cluster.name}/${standby}`;
    start(name, pruneIntervalMs, (signal) => inquiry.step({ signal }));
  }
  const stepIntervalMs = Math.min(pruneIntervalMs, STEP_INTERVAL_MS_MAX);
  start(`retention of ${cluster.name}`, stepIntervalMs, (signal) => {
    return cluster.retention.step({ signal });
  });
  if (!cluster.store.isShared) return;
  start(`other daemons of ${cluster.name}`, OTHERS_INTERVAL_MS, async (signal) => {
    await cluster.others.look({ signal });
    await cluster.retention.register.relearn({ signal });
  });
}
