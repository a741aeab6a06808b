import { describe, expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { type Life, type Loss, lossesOf, type Start } from "./crashes.ts";
import { type Flaw, flawedWriter } from "./flawed-writer.ts";

const signal = new AbortController().signal;
const SEEDS = 8;

const FIRST = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const SECOND = "clusters/main/wal/00000001/00000000/000000010000000000000002";
const NEXT_LOG = "clusters/main/wal/00000001/00000001/000000010000000100000000";
const HISTORY = "clusters/main/wal/00000002/00000002.history";
const STATE = "clusters/main/standbys/s1.json";

/** What an archive goes through: a new cluster, new directories, retries, racing pushers. */
const PUSHES: Life = [
  [{ verb: "publish", key: FIRST, content: "the first segment" }],
  [{ verb: "publish", key: SECOND, content: "the second segment" }],
  [{ verb: "publish", key: FIRST, content: "the first segment" }],
  [
    { verb: "publish", key: NEXT_LOG, content: "a segment in a new directory" },
    { verb: "publish", key: NEXT_LOG, content: "a segment in a new directory" },
    { verb: "publish", key: HISTORY, content: "1\t0/3000000\tno recovery target specified\n" },
  ],
];

const STATES: Life = [
  [{ verb: "replace", key: STATE, content: '{"restartPoint":"a"}' }],
  [{ verb: "replace", key: STATE, content: '{"restartPoint":"b, a longer one"}' }],
  [{ verb: "remove", key: STATE, content: "" }],
  [{ verb: "remove", key: STATE, content: "" }],
  [{ verb: "replace", key: STATE, content: '{"restartPoint":"c"}' }],
];

/** Directories that a prune empties go, and come back for a late push. */
const PRUNES: Life = [
  [{ verb: "publish", key: FIRST, content: "the first segment" }],
  [{ verb: "remove", key: FIRST, content: "" }],
  [
    { verb: "publish", key: FIRST, content: "the first segment" },
    { verb: "publish", key: SECOND, content: "the second segment" },
  ],
  [
    { verb: "remove", key: FIRST, content: "" },
    { verb: "remove", key: SECOND, content: "" },
  ],
  [{ verb: "publish", key: SECOND, content: "the second segment" }],
];

const diskStore: Start = async (disk) => {
  const store = await DiskStore.open("/store", { fileSystem: disk });
  return {
    publish: async (key, content) => {
      await using staged = await store.stage("main", { signal });
      await staged.write(content.subarray(0, 5));
      await staged.write(content.subarray(5));
      await staged.publish(key, { signal });
    },
    replace: (key, content) => store.replace(key, content, { signal }),
    remove: (key) => store.remove(key, { signal }),
  };
};

describe("a disk store that dies after any step, and then again", () => {
  test("has lost no acknowledged object, and shows none in part (promises 1 and 2)", async () => {
    expect(await lossesOf(diskStore, { life: PUSHES, seeds: SEEDS })).toEqual(new Set());
  });

  test("keeps what was pushed into a directory that a prune had emptied", async () => {
    expect(await lossesOf(diskStore, { life: PRUNES, seeds: SEEDS })).toEqual(new Set());
  });

  test("has each state object as it was acknowledged, or as it was being put", async () => {
    expect(await lossesOf(diskStore, { life: STATES, seeds: SEEDS })).toEqual(new Set());
  });
});

describe("the crash harness", () => {
  const options = { life: PUSHES, seeds: SEEDS };

  test("finds nothing wrong with a writer that does everything in order", async () => {
    expect(await lossesOf(flawedWriter("none"), options)).toEqual(new Set());
  });

  test.for<[Flaw, Loss[]]>([
    ["content not synced", ["acknowledged change lost", "partial object visible"]],
    ["directory not synced", ["acknowledged change lost"]],
    ["published before it was synced", ["acknowledged change lost", "partial object visible"]],
    ["identical retry acknowledged unsynced", ["acknowledged change lost"]],
    ["parent of a new directory not synced", ["acknowledged change lost"]],
  ])("turns red on a writer with this flaw: %s", async ([flaw, losses]) => {
    expect([...(await lossesOf(flawedWriter(flaw), options))].sort()).toEqual(losses);
  });
});
