import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BATCH_FILES } from "../../src/retention/prune.ts";
import { isFailure } from "../../src/errors.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { LightArchive } from "./light-archive.ts";
import { segment, segmentText, segmentTexts, signal, Stage } from "./stage.ts";

describe("a prune under way", () => {
  const FILES = 4 * BATCH_FILES;
  let archive: LightArchive;

  beforeEach(async () => {
    archive = await LightArchive.open();
    for (let number = 1; number <= FILES; number += 1) archive.add(number);
    await archive.report("s1", FILES);
  });

  const left = () => archive.catalog.segments;

  /** Prunes, and begins something else while the first batch is being removed. */
  async function pruneWhile<T>(begin: () => Promise<T>, during = signal): Promise<string[]> {
    let begun: Promise<T> | undefined;
    archive.inBatch = () => {
      begun = begin();
    };
    try {
      const removed = await archive.retention.prune({ signal: during });
      return [...removableNames(removed)].map(({ text }) => text);
    } finally {
      await begun;
    }
  }

  test("spares what a hold asks for that is acknowledged meanwhile", async () => {
    const from = FILES - 700;
    const removed = await pruneWhile(() => archive.hold("h", from, undefined));
    expect(left()).toBe(FILES - from + 1);
    expect(removed).toEqual(segmentTexts(1, from - 1));
  });

  test("spares what a standby needs whose restart point moves back meanwhile", async () => {
    await pruneWhile(() => archive.report("s1", FILES - 700));
    expect(left()).toBe(701);
  });

  test("ends between two batches when it is told to, and the next one goes on", async () => {
    const stop = new AbortController();
    const pruning = pruneWhile(async () => stop.abort(new Error("enough")), stop.signal);
    await expect(pruning).rejects.toThrow("enough");
    expect(left()).toBe(FILES - BATCH_FILES);
    await archive.retention.prune({ signal });
    expect(left()).toBe(1);
  });

  test("is alone: a second one begins when it has ended, and finds nothing to do", async () => {
    const [first, second] = await Promise.all([
      archive.retention.prune({ signal }),
      archive.retention.prune({ signal }),
    ]);
    expect([...removableNames(first)]).toHaveLength(FILES - 1);
    expect([...removableNames(second)]).toHaveLength(0);
  });

  test("never removes more than was planned at its start, however the claims move on", async () => {
    await archive.hold("h", 1000, undefined);
    const removed = await pruneWhile(() => archive.retention.register.removeHold("h", { signal }));
    expect(removed).toHaveLength(999);
    expect(left()).toBe(FILES - 999);
  });
});

describe("fetches beside a prune", () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.open({ policy: { keepBackups: 0 } });
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  test("one that has opened a file reads it to its end", async () => {
    const file = segment(1, { content: "dense" });
    await stage.push(file);
    await stage.pushSegments(2, 3);
    await stage.report("s1", 3);
    await using object = await stage.archive.fetch("main", requireWalName(file.name), { signal });
    expect(await stage.prune()).toEqual(segmentTexts(1, 2));
    expect(Buffer.concat(await Array.fromAsync(object.frame())).length).toBe(object.frameBytes);
    expect(Buffer.concat(await Array.fromAsync(object.plain())).equals(file.bytes)).toBe(true);
  });

  test("each of many gets a whole file or is told of a gap, never less, never absence", async () => {
    const files = Array.from({ length: 60 }, (_, index) =>
      segment(index + 1, { content: "mixed" }),
    );
    await stage.push(...files);
    const outcomes = { whole: 0, gap: 0 };
    const end = new AbortController();
    const fetcher = async (index: number): Promise<void> => {
      for (let turn = index; !end.signal.aborted; turn += 7) {
        const file = files[turn % 40]!;
        try {
          const name = requireWalName(file.name);
          await using object = await stage.archive.fetch("main", name, { signal });
          const bytes = Buffer.concat(await Array.fromAsync(object.plain()));
          expect(bytes.equals(file.bytes), file.name).toBe(true);
          outcomes.whole += 1;
        } catch (error) {
          if (!isFailure(error, "gap")) throw error;
          outcomes.gap += 1;
        }
      }
    };
    const fetchers = Array.from({ length: 8 }, (_, index) => fetcher(index));
    for (let number = 2; number <= 50; number += 1) {
      await stage.report("s1", number);
      await stage.prune();
    }
    end.abort();
    await Promise.all(fetchers);
    expect(outcomes.whole).toBeGreaterThan(5);
    expect(outcomes.gap).toBeGreaterThan(5);
    const { damaged, stored } = await stage.status();
    expect(damaged).toEqual([]);
    expect(stored.files).toBe(11);
    expect(stage.logged("archived object is gone")).toEqual([]);
  });

  test("a push of a file that was just pruned is taken, and pruned again", async () => {
    await stage.pushSegments(1, 5);
    await stage.report("s1", 4);
    await stage.prune();
    await stage.push(segment(2));
    expect(await stage.listed()).toEqual([segmentText(2), ...segmentTexts(4, 5)]);
    expect(await stage.prune()).toEqual([segmentText(2)]);
  });
});

test("what a failing disk leaves is in the catalog, and goes the next time", async () => {
  await using stage = await Stage.open({ policy: { keepBackups: 0 } });
  await stage.pushSegments(1, 9);
  await stage.report("s1", 8);
  const { store } = stage;
  const removeAll = store.removeAll.bind(store);
  // The third file cannot be removed.
  store.removeAll = async (keys, options) => {
    await removeAll(keys.slice(0, 2), options);
    await removeAll(["clusters/main/nothing/x"], options);
    await store.settle("clusters/main/nothing/y", options);
  };
  await expect(stage.prune()).rejects.toMatchObject({ code: "store-failed" });
  expect(await stage.listed()).toEqual(segmentTexts(3, 9));
  expect(await stage.stored()).toEqual(segmentTexts(3, 9));
  store.removeAll = removeAll;
  expect(await stage.prune()).toEqual(segmentTexts(3, 7));
});
