import { expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { ObservedStore, type StoreObservation } from "../../src/store/observed.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const KEY = "clusters/main/wal/00000001/00000000/000000010000000000000001";

test("each operation is told when it ends: what it was, how it ended, how long it took", async () => {
  const seen: StoreObservation[] = [];
  const disk = new SimulatedFileSystem();
  const inner = await DiskStore.open("/store", { fileSystem: disk });
  await using store = new ObservedStore(inner, (observation) => seen.push(observation));

  await put(store, KEY, "content");
  await contentOf(store, KEY);
  await keysOf(store);
  disk.failNext({ verb: "sync", nth: 1, code: "EIO" });
  await expect(put(store, `${KEY}0`, "fails")).rejects.toMatchObject({ code: "store-failed" });
  await expect(store.probe({ signal: AbortSignal.abort() })).rejects.toThrow();

  const told = seen.map(({ operation, result }) => `${operation} ${result}`).join(", ");
  expect(told).toBe(
    "stage ok, write ok, publish ok, open ok, read ok, list ok, " +
      "stage ok, write ok, publish failed, probe aborted",
  );
  for (const { seconds } of seen) {
    expect(seconds).toBeGreaterThanOrEqual(0);
    expect(seconds).toBeLessThan(10);
  }
});
