import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { LanedStore } from "../../src/store/lanes.ts";
import { HangingFileSystem } from "../support/hanging-file-system.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const SICK = "clusters/sick/wal/00000001/00000000/000000010000000000000001";
const WELL = "clusters/well/wal/00000001/00000000/000000010000000000000001";
const TIMED_OUT = /storage of cluster "sick" has not answered for 30 s/;
const REFUSED = /storage of cluster "sick" hangs/;

let disk: HangingFileSystem;
let store: LanedStore;

beforeEach(async () => {
  vi.useFakeTimers();
  disk = new HangingFileSystem();
  store = new LanedStore(await DiskStore.open("/store", { fileSystem: disk }));
  await put(store, SICK, "sick");
  await put(store, WELL, "well");
});
afterEach(async () => {
  disk.release();
  await vi.runAllTimersAsync();
  vi.useRealTimers();
});

describe("while the storage of one cluster hangs", () => {
  beforeEach(() => disk.hang("/clusters/sick/"));

  test("the other clusters, the probe and the readiness answer as before", async () => {
    const pushes = settledLater(...many(20, (index) => put(store, `${SICK}${index}`, "late")));
    expect(await put(store, `${WELL}0`, "new")).toBe("created");
    expect(await contentOf(store, WELL)).toBe("well");
    expect(await keysOf(store, { prefix: "clusters/well/" })).toEqual([WELL, `${WELL}0`]);
    expect((await store.probe({ signal })).freeBytes).toBeGreaterThan(0);
    expect(store.sick()).toEqual([]);

    await vi.advanceTimersByTimeAsync(12_000);
    expect(store.sick()).toEqual([{ subject: 'cluster "sick"', cluster: "sick" }]);
    expect(await put(store, `${WELL}1`, "new")).toBe("created");
    disk.release();
    await pushes;
  });

  test("no more than six of its operations are under way", async () => {
    const pushes = settledLater(...many(20, (index) => put(store, `${SICK}${index}`, "late")));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(disk.hanging).toBe(6);

    disk.release();
    await vi.advanceTimersByTimeAsync(1);
    expect(await pushes).toEqual(many(20, () => "created"));
  });

  test("who has begun is told after 30 s, who waits for a turn after 10 s, who comes then at once", async () => {
    const begun = settledLater(...many(6, () => store.stat(SICK, { signal })));
    const waiting = settledLater(...many(4, () => store.stat(SICK, { signal })));
    await vi.advanceTimersByTimeAsync(9_999);
    expect(waiting.count).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(await waiting).toEqual(many(4, () => expect.stringMatching(REFUSED)));
    await expect(store.stat(SICK, { signal })).rejects.toThrow(REFUSED);
    await expect(store.stage("sick", { signal })).rejects.toMatchObject({ code: "store-failed" });

    await vi.advanceTimersByTimeAsync(19_999);
    expect(begun.count).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(await begun).toEqual(many(6, () => expect.stringMatching(TIMED_OUT)));
    expect(disk.hanging).toBe(6);
  });

  test("an operation that nobody waits for any more still makes the lane sick", async () => {
    const controller = new AbortController();
    const reason = new Error("the client left");
    const left = settledLater(store.stat(SICK, { signal: controller.signal }));
    await vi.advanceTimersByTimeAsync(100);
    controller.abort(reason);
    expect(await left).toEqual(["the client left"]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(store.sick()).toEqual([{ subject: 'cluster "sick"', cluster: "sick" }]);
  });

  test("whoever leaves the queue is not run later", async () => {
    const controller = new AbortController();
    const begun = settledLater(...many(6, () => store.stat(SICK, { signal })));
    const left = settledLater(store.remove(SICK, { signal: controller.signal }));
    await vi.advanceTimersByTimeAsync(100);
    controller.abort(new Error("no longer wanted"));
    disk.release();
    await begun;
    expect(await left).toEqual(["no longer wanted"]);
    expect(await contentOf(store, SICK)).toBe("sick");
  });

  test("listings and reads that have begun are told too", async () => {
    const listing = settledLater(keysOf(store, { prefix: "clusters/sick/" }));
    const all = settledLater(keysOf(store));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await listing).toEqual([expect.stringMatching(TIMED_OUT)]);
    expect(await all).toEqual([expect.stringMatching(/storage of the listing has not answered/)]);
    expect(new Set(store.sick())).toEqual(
      new Set([
        { subject: 'cluster "sick"', cluster: "sick" },
        { subject: "the listing", cluster: undefined },
      ]),
    );
  });
});

describe("once the storage answers again", () => {
  test("the lane is well by itself, and nothing is left of what nobody waited for", async () => {
    disk.hang("/clusters/sick/");
    const pushes = settledLater(...many(10, (index) => put(store, `${SICK}${index}`, "late")));
    const opens = settledLater(store.open(SICK, { signal }));
    await vi.advanceTimersByTimeAsync(31_000);
    expect(pushes.count).toBe(10);
    expect(opens.count).toBe(1);

    const [opened, closed] = [disk.count("open"), disk.count("close")];
    disk.release();
    await vi.advanceTimersByTimeAsync(1);
    expect(store.sick()).toEqual([]);
    expect(await disk.list("/store/clusters/sick/tmp")).toEqual([]);
    const staged = 6; // Those that had begun: what came of them was closed again.
    expect(disk.count("close") - closed).toBe(disk.count("open") - opened + staged);
    expect(await put(store, `${SICK}0`, "new")).toBe("created");
  });

  test("a publish that its caller has left may have succeeded, whole, and is found by the retry", async () => {
    await using staged = await store.stage("sick", { signal });
    await staged.write(Buffer.from("content"));
    disk.hang(`${SICK}0`);
    const publishing = settledLater(staged.publish(`${SICK}0`, { signal }));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await publishing).toEqual([expect.stringMatching(TIMED_OUT)]);

    const disposing = settledLater(staged[Symbol.asyncDispose]());
    await vi.advanceTimersByTimeAsync(0);
    expect(disposing.count, "a sick lane keeps nobody waiting").toBe(1);
    expect(await disk.list("/store/clusters/sick/tmp")).toHaveLength(1);

    disk.release();
    await vi.advanceTimersByTimeAsync(1);
    expect(await disk.list("/store/clusters/sick/tmp")).toEqual([]);
    expect(await put(store, `${SICK}0`, "content")).toBe("exists");
    expect(await contentOf(store, `${SICK}0`)).toBe("content");
  });

  test("an object that is being read is closed only after its last read", async () => {
    const object = await store.open(SICK, { signal });
    disk.hang(SICK);
    const reading = settledLater(object?.read(0, 4));
    const closed = disk.count("close");
    const disposing = settledLater(object?.[Symbol.asyncDispose]());
    await vi.advanceTimersByTimeAsync(11_000);
    expect(disposing.count).toBe(1);
    expect(disk.count("close")).toBe(closed);
    disk.release();
    await vi.advanceTimersByTimeAsync(1);
    expect(String((await reading)[0])).toBe("sick");
    expect(disk.count("close")).toBe(closed + 1);
  });
});

function many<T>(count: number, one: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => one(index));
}

/** Values, or messages of failures, once all have come; `count` tells how many have. */
function settledLater(...promises: unknown[]): Promise<unknown[]> & { count: number } {
  const all = Promise.all(
    promises.map(async (promise) => {
      try {
        return await promise;
      } catch (error) {
        return error instanceof Error ? error.message : error;
      } finally {
        counted.count += 1;
      }
    }),
  );
  const counted = Object.assign(all, { count: 0 });
  return counted;
}
