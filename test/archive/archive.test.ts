import { readdir, stat } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import {
  makeBackupHistory,
  makeHistory,
  makePartial,
  makeSegment,
  MIB,
  type MadeFile,
  sha256Of,
  SYSTEM_IDENTIFIER,
} from "../support/wal-maker.ts";

const { signal } = new AbortController();
let scene: ArchiveScene;

beforeEach(async () => {
  scene = await ArchiveScene.open();
});

afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

test("what was pushed is fetched, listed and counted, also after a restart", async () => {
  const files = [
    segment(1),
    makeBackupHistory({ number: 1, segmentSizeBytes: MIB }),
    segment(2),
    makePartial({ number: 3, segmentSizeBytes: MIB, content: "mixed" }),
    makeHistory(2, [{ timeline: 1, switchLsn: "0/300100" }]),
    segment(3, { timeline: 2, pageTimeline: 1 }),
  ];
  for (const file of files) {
    expect(await scene.push(file)).toMatchObject({
      outcome: "archived",
      sha256: sha256Of(file.bytes),
      sizeBytes: file.bytes.length,
    });
  }
  const look = async () => {
    for (const file of files) expect((await scene.fetch(file.name)).equals(file.bytes)).toBe(true);
    await Promise.all(scene.archive.loadedClusters().map((cluster) => cluster.totals.counted()));
    return {
      status: await scene.archive.status("main", { signal }),
      page: await scene.archive.page("main", { limit: 1000, signal }),
    };
  };
  const before = await look();
  expect(before.page.files.map((file) => file.name)).toEqual(files.map((file) => file.name));
  expect(before.status).toMatchObject({
    systemIdentifier: SYSTEM_IDENTIFIER,
    segmentSizeBytes: MIB,
    latest: { name: "000000020000000000000003" },
    stored: { files: 6, plainBytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0) },
    timelines: [
      { timeline: 1, ranges: [{ segments: 2 }], gaps: [] },
      { timeline: 2, parent: 1, switchLsn: "0/300100", ranges: [{ segments: 1 }], gaps: [] },
    ],
  });
  await scene.restart();
  expect(await look()).toEqual(before);
});

test("pages of a listing join to the whole", async () => {
  for (let number = 1; number <= 7; number += 1) await scene.push(segment(number));
  const names: string[] = [];
  let after: string | undefined;
  do {
    const page = await scene.archive.page("main", { after, limit: 3, signal });
    expect(page.files.length).toBeLessThanOrEqual(3);
    names.push(...page.files.map((file) => file.name));
    after = page.next ?? undefined;
  } while (after !== undefined);
  expect(names).toHaveLength(7);
  expect(names).toEqual([...names].sort());
});

test("the same content again is a success that writes nothing", async () => {
  const file = segment(1);
  await scene.push(file);
  const before = await stat(scene.objectPath(file.name));
  expect(await scene.push(file)).toMatchObject({ outcome: "already-archived" });
  const after = await stat(scene.objectPath(file.name));
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
});

test.each(["segment", "history", "backup"])(
  "another content of a %s is refused, kept for a person, and changes nothing",
  async (kind) => {
    await scene.push(segment(9));
    const make = (seed: string): MadeFile => {
      if (kind === "segment") return segment(1, { seed });
      if (kind === "backup") {
        return makeBackupHistory({ number: 1, segmentSizeBytes: MIB, label: seed });
      }
      return makeHistory(2, [{ timeline: 1, switchLsn: "0/300100", reason: seed }]);
    };
    const [first, second] = [make("first"), make("second")];
    await scene.push(first);
    const refused = await scene.push(second).catch((error: Error) => error);
    expect(refused).toMatchObject({ code: "conflict" });
    // Who may push need not be one who may read.
    expect(refused).not.toMatchObject({ message: expect.stringContaining(sha256Of(first.bytes)) });
    expect((await scene.fetch(first.name)).equals(first.bytes)).toBe(true);
    const kept = await readdir(scene.path("conflicts"));
    expect(kept).toEqual([`${second.name}.${sha256Of(second.bytes)}`]);
    expect(await scene.push(first)).toMatchObject({ outcome: "already-archived" });
  },
);

test("a push tells the size of the object that it made", async () => {
  const file = segment(1);
  const { storedBytes } = await scene.push(file);
  expect(storedBytes).toBe((await stat(scene.objectPath(file.name))).size);
  expect(await scene.push(file)).toMatchObject({ storedBytes: 0 });
});

test("another content of a partial segment is kept aside and does not hold up the archiver", async () => {
  const make = (seed: string) =>
    makePartial({ number: 1, segmentSizeBytes: MIB, content: "mixed", seed });
  const [first, second] = [make("first"), make("second")];
  await scene.push(first);
  expect(await scene.push(second)).toMatchObject({
    outcome: "kept-aside",
    sha256: sha256Of(second.bytes),
  });
  expect((await scene.fetch(first.name)).equals(first.bytes)).toBe(true);
});

test("of sixteen racing pushes of two contents one content wins", async () => {
  const files = [segment(1, { seed: "a" }), segment(1, { seed: "b" })] as const;
  const results = await Promise.allSettled(
    Array.from({ length: 16 }, (_, index) => scene.push(files[index % 2 === 0 ? 0 : 1])),
  );
  const stored = await scene.fetch(files[0].name);
  const winner = stored.equals(files[0].bytes) ? 0 : 1;
  expect(stored.equals(files[winner].bytes)).toBe(true);
  results.forEach((result, index) => {
    expect(result.status).toBe(index % 2 === winner ? "fulfilled" : "rejected");
  });
});

test("a first push binds the cluster, and nothing of another cluster is taken", async () => {
  await scene.push(segment(1));
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(scene.push(other)).rejects.toMatchObject({ code: "rejected" });
  const larger = makeSegment({ number: 2, segmentSizeBytes: 2 * MIB, content: "sparse" });
  await expect(scene.push(larger)).rejects.toMatchObject({ code: "rejected" });
  const told = { told: "7399999999999999999" };
  await expect(scene.push(segment(2), told)).rejects.toMatchObject({ code: "rejected" });
  await expect(scene.fetch(segment(1).name, told.told)).rejects.toMatchObject({ code: "rejected" });
  await scene.restart();
  await expect(scene.push(other)).rejects.toMatchObject({ code: "rejected" });
});

test("a history file that comes first is bound by what its caller says", async () => {
  const history = makeHistory(2, [{ timeline: 1, switchLsn: "0/300100" }]);
  await scene.push(history, { told: SYSTEM_IDENTIFIER });
  const stranger = segment(3, { timeline: 2, systemIdentifier: "7399999999999999999" });
  await expect(scene.push(stranger)).rejects.toMatchObject({ code: "rejected" });
  expect(await scene.push(segment(3, { timeline: 2 }))).toMatchObject({ outcome: "archived" });
});

test("a refused first push leaves no cluster and no object behind", async () => {
  const broken = segment(1);
  broken.bytes.writeUInt16LE(0xffff, 0);
  await expect(scene.push(broken)).rejects.toMatchObject({ code: "rejected" });
  const cut = segment(1).bytes.subarray(0, 4096);
  await expect(scene.push({ name: segment(1).name, bytes: cut })).rejects.toMatchObject({
    code: "rejected",
  });
  const wrong = { sha256: "0".repeat(64) };
  await expect(scene.push(segment(1), wrong)).rejects.toMatchObject({ code: "rejected" });
  expect(scene.archive.clusters()).toEqual([]);
  await expect(scene.fetch(segment(1).name)).rejects.toMatchObject({ code: "unknown-cluster" });
  await scene.restart();
  expect(scene.archive.clusters()).toEqual([]);
});

test("configured clusters are the only ones", async () => {
  await scene.restart([["main", { systemIdentifier: SYSTEM_IDENTIFIER }]]);
  await expect(scene.push(segment(1), { cluster: "other" })).rejects.toMatchObject({
    code: "unknown-cluster",
  });
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(scene.push(other)).rejects.toMatchObject({ code: "rejected" });
  await scene.push(segment(1));
  expect(scene.archive.clusters()).toEqual(["main"]);
});

test("absent is not said of a configured cluster that never archived: its disk may not be mounted", async () => {
  await scene.restart([["main", { systemIdentifier: undefined }]]);
  for (const name of [segment(1).name, "00000002.history"]) {
    await expect(scene.fetch(name)).rejects.toMatchObject({ code: "unknown-cluster" });
  }
  await scene.push(segment(1));
  await expect(scene.fetch(segment(2).name)).rejects.toMatchObject({ code: "absent" });
});
