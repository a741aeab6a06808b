/** The store that the configuration names, in lanes that suit it, and with its times measured. */
import type { Config } from "./config/config.ts";
import { DiskStore } from "./store/disk.ts";
import type { LaneOptions } from "./store/lane.ts";
import { LanedStore } from "./store/lanes.ts";
import { ObservedStore } from "./store/observed.ts";
import { S3Store } from "./store/s3.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/**
 * Requests to a bucket take no thread, and each has its own deadlines, by its size. So the lane
 * only bounds how many there are of one cluster, and gives up when none could still be alive.
 */
const S3_LANES: LaneOptions = { limit: 32, deadlineMs: 900_000, sickAfterMs: 900_000 };

/** Rejects with `usage` or `store-failed` as the stores do when they are opened. */
export async function openStore(
  { store }: Pick<Config, "store">,
  metrics: Metrics,
): Promise<LanedStore> {
  switch (store.kind) {
    case "disk":
      return new LanedStore(await DiskStore.open(store.path));
    case "s3": {
      const opened = await S3Store.open(store, {
        observe: ({ request, result, seconds }) => {
          metrics.s3Requests.inc({ request, result });
          metrics.s3Seconds.observe({ request }, seconds);
        },
      });
      return new LanedStore(opened, S3_LANES);
    }
  }
}

export function observeStore(
  inner: LanedStore,
  { metrics, kind }: { metrics: Metrics; kind: string },
): ObservedStore {
  return new ObservedStore(inner, ({ operation, result, seconds }) => {
    metrics.storeSeconds.observe({ store: kind, operation, result }, seconds);
  });
}
