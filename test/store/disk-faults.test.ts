import { describe, expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { SimulatedFileSystem, type Verb } from "../support/simulated-file-system.ts";
import { objectsOn } from "./crashes.ts";
import { flawedWriter } from "./flawed-writer.ts";

const signal = new AbortController().signal;
const KEY = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const EARLIER = "clusters/main/wal/00000001/00000000/000000010000000000000000";
const CONTENT = Buffer.from("what PostgreSQL wants to be safe");
const SEEDS = Array.from({ length: 12 }, (_, seed) => seed);

const VERBS: Verb[] = [
  ...(["stat", "makeDirectory", "create", "open", "link", "rename", "remove"] as const),
  ...(["syncDirectory", "list", "room", "write", "sync", "read", "close"] as const),
];

async function push(store: DiskStore, key = KEY, content = CONTENT): Promise<"created" | "exists"> {
  await using staged = await store.stage("main", { signal });
  await staged.write(content.subarray(0, 7));
  await staged.write(content.subarray(7));
  return await staged.publish(key, { signal });
}

async function openOn(disk: SimulatedFileSystem): Promise<DiskStore> {
  return DiskStore.open("/store", { fileSystem: disk });
}

/** A store with nothing in it, or one that has served before and holds another object. */
async function prepare(history: "new" | "used"): Promise<[SimulatedFileSystem, DiskStore]> {
  const disk = new SimulatedFileSystem();
  const store = await openOn(disk);
  if (history === "used") await push(store, EARLIER);
  return [disk, store];
}

/** Whatever the crash leaves to chance, the key has the content. */
async function expectDurable(disk: SimulatedFileSystem, key = KEY): Promise<void> {
  for (const seed of SEEDS) {
    const survivor = disk.afterCrash(seed);
    expect((await objectsOn(survivor)).get(key), `after crash ${seed}`).toEqual(CONTENT);
  }
}

describe.each(["new", "used"] as const)("on a %s store", (history) => {
  test.each(["EIO", "ENOSPC"])(
    "a publish with %s at any call fails and shows nothing, and the next one succeeds afresh",
    async (code) => {
      for (const verb of VERBS) {
        for (let nth = 1; ; nth += 1) {
          const [disk, store] = await prepare(history);
          const before = new Set((await objectsOn(disk)).keys());
          disk.failNext({ verb, nth, code });
          const called = disk.count(verb);
          const [outcome] = await Promise.allSettled([push(store)]);
          const wasHit = disk.count(verb) - called >= nth;
          disk.failNext();

          if (outcome.status === "rejected") {
            const status = code === "ENOSPC" ? 507 : 503;
            expect(outcome.reason).toMatchObject({ code: "store-failed", status });
            expect(new Set((await objectsOn(disk)).keys())).toEqual(before);
            const created = disk.count("create");
            expect(await push(store)).toBe("created");
            expect(disk.count("create"), "a fresh file").toBeGreaterThan(created);
          }
          await expectDurable(disk);
          if (!wasHit) break;
        }
      }
    },
  );
});

describe("a sync that fails", () => {
  test("is never tried again on the same file, because the second one would lie", async () => {
    const [disk, store] = await prepare("used");
    disk.failNext({ verb: "sync", nth: 1, code: "EIO" });
    await using staged = await store.stage("main", { signal });
    await staged.write(CONTENT);
    await expect(staged.publish(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });
    await expect(staged.publish(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });
    expect(await store.stat(KEY, { signal })).toBeUndefined();
  });

  test("on an object that is there has it written anew before anybody is told that it is safe", async () => {
    const [disk, store] = await prepare("used");
    await plant(disk);
    disk.failNext({ verb: "sync", nth: 1, code: "EIO" });
    await expect(store.settle(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });

    await store.settle(KEY, { signal });
    await expectDurable(disk);
  });

  test("shows in this harness when a writer does try again", async () => {
    const disk = new SimulatedFileSystem();
    const writer = await flawedWriter("failed sync tried again")(disk);
    disk.failNext({ verb: "sync", nth: 1, code: "EIO" });
    await writer.publish(KEY, CONTENT);
    await expect(expectDurable(disk)).rejects.toThrow(/after crash/);
  });
});

describe("an object that somebody else wrote and never synced", () => {
  test.each(["settle", "publish"] as const)(
    "is durable once %s has answered",
    async (operation) => {
      const [disk, store] = await prepare("used");
      await plant(disk);
      if (operation === "settle") await store.settle(KEY, { signal });
      else expect(await push(store)).toBe("exists");
      await expectDurable(disk);
    },
  );
});

describe("of publishers that race while the directory cannot be synced", () => {
  test("none is told that the object exists when its name was taken back", async () => {
    for (let nth = 1; nth <= 4; nth += 1) {
      const [disk, store] = await prepare("used");
      disk.failNext({ verb: "syncDirectory", nth, code: "EIO" });
      const outcomes = await Promise.allSettled([push(store), push(store), push(store)]);
      const told = outcomes.filter(({ status }) => status === "fulfilled");
      expect(told.length).toBeGreaterThan(0);
      await expectDurable(disk);
    }
  });

  test("and a name that cannot be taken back is not trusted until it is made anew", async () => {
    const [disk, store] = await prepare("used");
    // The second removal: the first drops the staged name.
    disk.failNext(
      { verb: "syncDirectory", nth: 1, code: "EIO" },
      { verb: "remove", nth: 2, code: "EIO" },
    );
    await expect(push(store)).rejects.toMatchObject({ code: "store-failed" });
    expect(await store.stat(KEY, { signal })).toBeDefined();

    const created = disk.count("create");
    expect(await push(store)).toBe("exists");
    expect(disk.count("create")).toBe(created + 2);
    await expectDurable(disk);
  });
});

test("a write that the disk claims and never does is noticed before the object gets its name", async () => {
  const [disk, store] = await prepare("used");
  await using staged = await store.stage("main", { signal });
  disk.loseNextWrite();
  await staged.write(CONTENT);
  await expect(staged.publish(KEY, { signal })).rejects.toThrow(/claims 32 written bytes/);
  expect(await store.stat(KEY, { signal })).toBeUndefined();
});

test("what a crash left staged is swept at the next start, and nothing else", async () => {
  const [disk, store] = await prepare("used");
  const staged = await store.stage("main", { signal });
  await staged.write(CONTENT);
  expect(await disk.list("/store/clusters/main/tmp")).toHaveLength(1);

  const next = disk.afterKill();
  await using reopened = await openOn(next);
  expect(await next.list("/store/clusters/main/tmp")).toEqual([]);
  expect(await reopened.stat(EARLIER, { signal })).toBeDefined();
});

/** A whole file at the key that no sync has reached: `cp`, or a daemon that was killed. */
async function plant(disk: SimulatedFileSystem): Promise<void> {
  const file = await disk.create(`/store/${KEY}`);
  await file.write(CONTENT);
  await file.close();
}
