/** What every cluster needs from time to time: retention, and asking its standbys. */
import { setTimeout as delay } from "node:timers/promises";
import { type Loop, startLoop } from "../lifecycle.ts";
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
/** The first prune waits for so long, in which standbys can report after a long silence of ours. */
const FIRST_PRUNE_MS_MAX = 10_000;

/** Starts it for the clusters there are, and for each new one. Disposing it waits for its steps. */
export function startUpkeep(archive: Archive, options: UpkeepOptions): AsyncDisposable {
  const loops = new AsyncDisposableStack();
  const known = new Set<string>();
  const look = async () => {
    for (const cluster of archive.loadedClusters()) {
      cluster.retention.register.tick();
      if (known.has(cluster.name)) continue;
      known.add(cluster.name);
      startFor(cluster, options, loops);
    }
  };
  const { log } = options;
  const timing = { intervalMs: LOOK_INTERVAL_MS, retryMsMax: LOOK_INTERVAL_MS };
  const looking = startLoop(look, { name: "upkeep", ...timing, log });
  return {
    [Symbol.asyncDispose]: async () => {
      await looking[Symbol.asyncDispose]();
      await loops.disposeAsync();
    },
  };
}

function startFor(
  cluster: ClusterArchive,
  { log, asks }: UpkeepOptions,
  loops: AsyncDisposableStack,
): void {
  const { intervalMs } = cluster.retention;
  const start = (name: string, step: (signal: AbortSignal) => Promise<void>): Loop => {
    return loops.use(startLoop(step, { name, intervalMs, retryMsMax: intervalMs, log }));
  };
  for (const [standby, ask] of asks(cluster.name)) {
    const inquiry = new Inquiry(cluster, standby, ask);
    start(`question to ${cluster.name}/${standby}`, (signal) => inquiry.step({ signal }));
  }
  let isFirst = true;
  start(`retention of ${cluster.name}`, async (signal) => {
    await cluster.retention.register.load({ signal });
    if (isFirst) await delay(Math.min(intervalMs, FIRST_PRUNE_MS_MAX), undefined, { signal });
    isFirst = false;
    await cluster.retention.step({ signal });
  });
}
