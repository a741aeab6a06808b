import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { makeBackupHistory, MIB } from "../support/wal-maker.ts";
import { segment, segmentText, segmentTexts } from "../retention/stage.ts";
import { Daemon, fill, fillWithNames, openStore, put, signal, TwoDaemons } from "./daemons.ts";

const LEASE = "clusters/main/lease/";

describe("what was acknowledged by one daemon", () => {
  test("binds the next prune of another: a report, a hold, a base backup", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 40), {
      a: { policy: { keepBackups: 1 } },
    });
    const { store, a, b } = two;
    await b.report("s1", 30);
    await a.retention;
    await b.hold("h", 20);
    expect(await a.prune()).toEqual(segmentTexts(1, 19));
    // An older backup than all others known, which A has heard nothing of.
    await put(store, `${segmentText(25)}.00000028.backup`);
    await b.retention.then(({ register }) => register.removeHold("h", { signal }));
    expect(await a.prune()).toEqual(segmentTexts(20, 24));
    await b.push(makeBackupHistory({ number: 27, segmentSizeBytes: MIB }));
    expect(await a.prune()).toEqual([]);
    await a.look();
    expect(await a.prune()).toEqual([
      segmentText(25),
      `${segmentText(25)}.00000028.backup`,
      segmentText(26),
    ]);
  });

  test("binds the batches after it of a prune that is under way", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 30));
    const { a, b } = two;
    await a.report("s1", 30);
    await b.retention;
    // The claims are being read for the batch: whoever comes before that is seen.
    let answer: Promise<unknown> | undefined;
    a.view.before = async (operation, key) => {
      if (operation !== "list" || !key.endsWith("/holds/") || answer !== undefined) return;
      if (a.view.count("replace") > 1) answer = b.hold("h", 10);
      await answer;
    };
    expect(await a.prune()).toEqual(segmentTexts(1, 9));
    expect(await answer).toMatchObject({ problem: expect.stringContaining("being removed") });
    expect(await b.hold("h", 10)).toEqual({ name: "h", from: segmentText(10), until: null });
    expect(await b.fetch(segmentText(10))).toBe("served");
  });

  test("but came too late for the batch under way: the answer says so", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 30));
    const { a, b } = two;
    await a.report("s1", 20);
    await b.retention;
    const { pruning, goOn } = await pruneInPart(a, 5);
    expect((await b.hold("late", 3))?.problem).toContain("being removed");
    expect((await b.hold("in time", 20).catch(() => undefined))?.problem).toBeUndefined();
    await b.report("s2", 4);
    const { register } = await b.retention;
    expect(register.known?.removingUpTo).toBe(segmentText(19).slice(8));
    goOn();
    await pruning;
    // Now that it is over, what is left counts.
    expect((await b.hold("late", 3))?.problem).toContain("before the oldest archived segment");
    expect((await b.hold("late", 20))?.problem).toBeUndefined();
  });
});

describe("the lease", () => {
  test("of a pruning daemon keeps another one waiting, and names who has it", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 30));
    const { a, b } = two;
    await a.report("s1", 20);
    await b.retention;
    const { pruning, goOn } = await pruneInPart(a, 5);
    const other = b.prune();
    const named = await eventually("b says who prunes", () => {
      return b.logLines.find(({ msg }) => msg === "another daemon prunes");
    });
    expect(named["holder"]).toMatch(/^d-.*-[0-9a-f]{8}$/);
    await (await b.retention).step({ signal });
    expect(b.view.count("remove-all")).toBe(0);
    goOn();
    expect(await pruning).toEqual(segmentTexts(1, 19));
    expect(await other).toEqual([]);
  });

  test("costs nothing when nothing is removed, and leaves one object when something is", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 30));
    const { store, a, b } = two;
    expect(await a.prune()).toEqual([]);
    expect(a.view.count("publish")).toBe(0);
    for (let number = 2; number < 10; number += 1) {
      const daemon = number % 2 === 0 ? a : b;
      await daemon.report("s1", number);
      expect(await daemon.prune()).toEqual([segmentText(number - 1)]);
    }
    expect(await keysOf(store, LEASE)).toEqual([`${LEASE}0000000008.json`]);
  });

  test("is not taken from a daemon that is slow, but from one that stands still", async () => {
    await using two = await TwoDaemons.start(segmentTexts(1, 30), { b: { leaseMs: 300 } });
    const { a, b } = two;
    await a.report("s1", 20);
    await b.retention;
    const { pruning, goOn } = await pruneInPart(a, 5);
    const startMs = performance.now();
    expect(await b.prune()).toEqual(segmentTexts(6, 19));
    expect(performance.now() - startMs).toBeGreaterThan(300);

    // Meanwhile the archive got some of it back, and somebody needs it: he is told in time.
    goOn();
    expect(await pruning).toEqual(segmentTexts(1, 19));
    await b.report("s1", 25);
    expect(await b.prune()).toEqual(segmentTexts(20, 24));
    await a.report("s1", 27);
    expect(await a.prune()).toEqual(segmentTexts(25, 26));
  });

  test("that was lost in the middle of a prune ends it before its next batch", async () => {
    const store = await openStore();
    await fillWithNames(store, segmentTexts(1, 2100));
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store, { leaseMs: 100 });
    await a.report("s1", 2100);
    await b.retention;
    const { pruning, goOn } = await pruneInPart(a, 2000);
    // B takes over, and promises to keep what A has planned to remove in its second batch.
    const taking = b.prune();
    await eventually("b has begun", () => b.view.count("remove-all") > 10, { intervalMs: 1 });
    const hold = b.hold("h", 2060);
    await taking;
    await hold;
    await b.report("s1", 2100);
    goOn();
    const removed = await pruning;
    expect(removed.at(-1)).toBe(segmentText(2048));
    expect(a.logLines.some(({ msg }) => msg === "lease lost to another daemon")).toBe(true);
    expect(a.view.count("remove-all")).toBe(2048);
  }, 60_000);
});

test("what a prune could not remove is not counted, and what it did remove is", async () => {
  const store = await openStore();
  await fill(store, segmentTexts(1, 30));
  await using a = await Daemon.start(store);
  await a.report("s1", 20);
  a.view.before = (operation, key) => {
    if (operation === "remove-all" && key.endsWith(segmentText(8))) throw new Error("no");
  };
  await expect(a.prune()).rejects.toThrow("no");
  const { catalog, retention } = await a.cluster();
  expect(catalog.segments).toBe(23);
  expect(retention.takePrunedSegments()).toBe(7);
  // Nobody knows whether the rest is being removed.
  expect((await a.hold("h", 10))?.problem).toContain("being removed");
  a.view.before = () => {};
  expect(await a.prune()).toEqual(segmentTexts(8, 9));
  expect((await a.hold("h", 10))?.problem).toContain("being removed");
});

/** A prune of the daemon that stands still after so many removals, until it is told to go on. */
async function pruneInPart(daemon: Daemon, removals: number) {
  const reached = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  let turns = 0;
  daemon.view.before = async (operation) => {
    if (operation === "remove-all" && (turns += 1) > removals) {
      reached.resolve();
      await end.promise;
    }
  };
  const pruning = daemon.prune();
  await reached.promise;
  return { pruning, goOn: end.resolve };
}

async function keysOf(store: Awaited<ReturnType<typeof openStore>>, prefix: string) {
  const listed = await Array.fromAsync(store.list(prefix, { signal }));
  return listed.map(({ key }) => key);
}

test("a restart point is compared with what all daemons have archived", async () => {
  const store = await openStore();
  await fillWithNames(store, segmentTexts(1, 3));
  await using b = await Daemon.start(store);
  await b.retention;
  await fillWithNames(store, segmentTexts(4, 100));
  await b.report("s1", 99);
  const { register } = await b.retention;
  expect(register.known?.standbys.get("s1")).toMatchObject({
    restartPoint: { text: segmentText(99) },
  });
  await expect(b.report("s1", 165)).rejects.toThrow("65 segments ahead");
});

test("a segment pushed twice through two daemons is archived once", async () => {
  const store = await openStore();
  await using a = await Daemon.start(store);
  await using b = await Daemon.start(store);
  await a.push(segment(1));
  await b.push(segment(1), segment(2));
  await a.push(segment(2));
  expect(await a.listed()).toEqual(await b.listed());
});
