import { readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Archive } from "../../src/archive/archive.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { WalarcError } from "../../src/errors.ts";
import { requireWalName } from "../../src/wal/name.ts";
import {
  makeBackupHistory,
  makeHistory,
  makePartial,
  makeSegment,
  MIB,
  type MadeFile,
  sha256Of,
  SYSTEM_IDENTIFIER,
  type SegmentWish,
} from "../support/wal-maker.ts";

const signal = new AbortController().signal;
let root: string;
let store: DiskStore;
let archive: Archive;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "walarc-archive-"));
  await open();
});

afterEach(async () => {
  await close();
  await rm(root, { recursive: true });
});

async function open(clusters: [string, string | undefined][] = []): Promise<void> {
  store = await DiskStore.open(join(root, "store"));
  archive = await Archive.open({
    store,
    log: pino({ level: "silent" }),
    compressionLevel: 1,
    clusters: new Map(clusters.map(([name, id]) => [name, { systemIdentifier: id }])),
    signal,
  });
}

async function close(): Promise<void> {
  await archive[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
}

async function restart(): Promise<void> {
  await close();
  await open();
}

/** One megabyte segments. */
function segment(number: number, wish: Partial<SegmentWish> = {}): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB, content: "mixed", ...wish });
}

async function* streamed(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 60_000) yield bytes.subarray(at, at + 60_000);
}

function push(file: MadeFile, options: { cluster?: string; told?: string; sha256?: string } = {}) {
  return archive.push(options.cluster ?? "main", requireWalName(file.name), streamed(file.bytes), {
    sizeBytes: file.bytes.length,
    systemIdentifier: options.told,
    sha256: options.sha256,
    signal,
  });
}

async function fetch(name: string, told?: string): Promise<Buffer> {
  const options = { signal, systemIdentifier: told };
  await using verified = await archive.fetch("main", requireWalName(name), options);
  return Buffer.concat(await Array.fromAsync(verified.plain()));
}

function objectPath(name: string): string {
  const log = name.endsWith(".history") ? [] : [name.slice(8, 16)];
  return join(root, "store/clusters/main/wal", name.slice(0, 8), ...log, name);
}

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
    expect(await push(file)).toMatchObject({
      outcome: "archived",
      sha256: sha256Of(file.bytes),
      sizeBytes: file.bytes.length,
    });
  }
  const look = async () => {
    for (const file of files) expect((await fetch(file.name)).equals(file.bytes)).toBe(true);
    await Promise.all(archive.loadedClusters().map((cluster) => cluster.totals.counted()));
    return {
      status: await archive.status("main", { signal }),
      page: await archive.page("main", { limit: 1000, signal }),
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
  await restart();
  expect(await look()).toEqual(before);
});

test("pages of a listing join to the whole", async () => {
  for (let number = 1; number <= 7; number += 1) await push(segment(number));
  const names: string[] = [];
  let after: string | undefined;
  do {
    const page = await archive.page("main", { after, limit: 3, signal });
    expect(page.files.length).toBeLessThanOrEqual(3);
    names.push(...page.files.map((file) => file.name));
    after = page.next ?? undefined;
  } while (after !== undefined);
  expect(names).toHaveLength(7);
  expect(names).toEqual([...names].sort());
});

test("the same content again is a success that writes nothing", async () => {
  const file = segment(1);
  await push(file);
  const before = await stat(objectPath(file.name));
  expect(await push(file)).toMatchObject({ outcome: "already-archived" });
  const after = await stat(objectPath(file.name));
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
});

test.each(["segment", "history", "backup"])(
  "another content of a %s is refused, kept for a person, and changes nothing",
  async (kind) => {
    await push(segment(9));
    const make = (seed: string): MadeFile => {
      if (kind === "segment") return segment(1, { seed });
      if (kind === "backup") {
        return makeBackupHistory({ number: 1, segmentSizeBytes: MIB, label: seed });
      }
      return makeHistory(2, [{ timeline: 1, switchLsn: "0/300100", reason: seed }]);
    };
    const [first, second] = [make("first"), make("second")];
    await push(first);
    await expect(push(second)).rejects.toMatchObject({ code: "conflict" });
    expect((await fetch(first.name)).equals(first.bytes)).toBe(true);
    const kept = await readdir(join(root, "store/clusters/main/conflicts"));
    expect(kept).toEqual([`${second.name}.${sha256Of(second.bytes)}`]);
    expect(await push(first)).toMatchObject({ outcome: "already-archived" });
  },
);

test("another content of a partial segment is kept aside and does not hold up the archiver", async () => {
  const make = (seed: string) =>
    makePartial({ number: 1, segmentSizeBytes: MIB, content: "mixed", seed });
  const [first, second] = [make("first"), make("second")];
  await push(first);
  expect(await push(second)).toMatchObject({
    outcome: "kept-aside",
    sha256: sha256Of(second.bytes),
  });
  expect((await fetch(first.name)).equals(first.bytes)).toBe(true);
});

test("of sixteen racing pushes of two contents one content wins", async () => {
  const files = [segment(1, { seed: "a" }), segment(1, { seed: "b" })] as const;
  const results = await Promise.allSettled(
    Array.from({ length: 16 }, (_, index) => push(files[index % 2 === 0 ? 0 : 1])),
  );
  const stored = await fetch(files[0].name);
  const winner = stored.equals(files[0].bytes) ? 0 : 1;
  expect(stored.equals(files[winner].bytes)).toBe(true);
  results.forEach((result, index) => {
    expect(result.status).toBe(index % 2 === winner ? "fulfilled" : "rejected");
  });
});

test("a first push binds the cluster, and nothing of another cluster is taken", async () => {
  await push(segment(1));
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(push(other)).rejects.toMatchObject({ code: "rejected" });
  const larger = makeSegment({ number: 2, segmentSizeBytes: 2 * MIB, content: "sparse" });
  await expect(push(larger)).rejects.toMatchObject({ code: "rejected" });
  const told = { told: "7399999999999999999" };
  await expect(push(segment(2), told)).rejects.toMatchObject({ code: "rejected" });
  await expect(fetch(segment(1).name, told.told)).rejects.toMatchObject({ code: "rejected" });
  await restart();
  await expect(push(other)).rejects.toMatchObject({ code: "rejected" });
});

test("a history file that comes first is bound by what its caller says", async () => {
  const history = makeHistory(2, [{ timeline: 1, switchLsn: "0/300100" }]);
  await push(history, { told: SYSTEM_IDENTIFIER });
  const stranger = segment(3, { timeline: 2, systemIdentifier: "7399999999999999999" });
  await expect(push(stranger)).rejects.toMatchObject({ code: "rejected" });
  expect(await push(segment(3, { timeline: 2 }))).toMatchObject({ outcome: "archived" });
});

test("a refused first push leaves no cluster and no object behind", async () => {
  const broken = segment(1);
  broken.bytes.writeUInt16LE(0xffff, 0);
  await expect(push(broken)).rejects.toMatchObject({ code: "rejected" });
  const cut = segment(1).bytes.subarray(0, 4096);
  await expect(push({ name: segment(1).name, bytes: cut })).rejects.toMatchObject({
    code: "rejected",
  });
  const wrong = { sha256: "0".repeat(64) };
  await expect(push(segment(1), wrong)).rejects.toMatchObject({ code: "rejected" });
  expect(archive.clusters()).toEqual([]);
  await expect(fetch(segment(1).name)).rejects.toMatchObject({ code: "unknown-cluster" });
  await restart();
  expect(archive.clusters()).toEqual([]);
});

test("configured clusters are the only ones", async () => {
  await close();
  await open([["main", SYSTEM_IDENTIFIER]]);
  await expect(push(segment(1), { cluster: "other" })).rejects.toMatchObject({
    code: "unknown-cluster",
  });
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(push(other)).rejects.toMatchObject({ code: "rejected" });
  await expect(fetch(segment(1).name)).rejects.toMatchObject({ code: "absent" });
  await push(segment(1));
  expect(archive.clusters()).toEqual(["main"]);
});

test("a missing segment is a gap while its timeline goes on, and absent at its end", async () => {
  await push(segment(1));
  await push(segment(3));
  await expect(fetch(segment(2).name)).rejects.toMatchObject({ code: "gap" });
  await expect(fetch(segment(4).name)).rejects.toMatchObject({ code: "absent" });
  await expect(fetch("00000002.history")).rejects.toMatchObject({ code: "absent" });
});

test("an object that vanished is never called absent", async () => {
  await push(segment(1));
  await push(segment(2));
  await push(segment(3));
  await rm(objectPath(segment(2).name));
  await expect(fetch(segment(2).name)).rejects.toMatchObject({ code: "gap" });
  await rm(objectPath(segment(3).name));
  for (let again = 0; again < 2; again += 1) {
    await expect(fetch(segment(3).name)).rejects.toMatchObject({ code: "corrupt" });
  }
  const status = await archive.status("main", { signal });
  expect(status.damaged).toEqual([segment(2).name, segment(3).name]);
  expect(await push(segment(3))).toMatchObject({ outcome: "archived" });
  expect((await fetch(segment(3).name)).equals(segment(3).bytes)).toBe(true);
});

test.each([
  ["a flipped byte", (bytes: Buffer) => bytes.fill(bytes[5000]! ^ 1, 5000, 5001)],
  ["a lost end", (bytes: Buffer) => bytes.subarray(0, bytes.length - 10)],
  ["nothing left", () => Buffer.alloc(0)],
  ["a neighbour's content", () => undefined],
])("an object with %s is corrupt until the same content is pushed again", async (_, damage) => {
  const file = segment(1);
  await push(file);
  await push(segment(2));
  const stored = await readFile(objectPath(file.name));
  const neighbour = await readFile(objectPath(segment(2).name));
  await writeFile(objectPath(file.name), damage(Buffer.from(stored)) ?? neighbour);
  await expect(fetch(file.name)).rejects.toMatchObject({ code: "corrupt" });
  expect((await archive.status("main", { signal })).damaged).toEqual([file.name]);

  expect(await push(file)).toMatchObject({ outcome: "archived" });
  expect((await fetch(file.name)).equals(file.bytes)).toBe(true);
  expect((await archive.status("main", { signal })).damaged).toEqual([]);
  expect(await readdir(join(root, "store/clusters/main/damaged"))).toHaveLength(1);
});

test("a damaged object keeps refusing another content as long as its digest can be read", async () => {
  await push(segment(1, { seed: "right" }));
  const path = objectPath(segment(1).name);
  const stored = await readFile(path);
  await writeFile(path, stored.fill(stored[5000]! ^ 1, 5000, 5001));
  await expect(push(segment(1, { seed: "wrong" }))).rejects.toMatchObject({ code: "conflict" });
});

test("a damaged binding is read again from the segments", async () => {
  await push(segment(1));
  const path = join(root, "store/clusters/main/cluster.json");
  await truncate(path, 3);
  await restart();
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(push(other)).rejects.toMatchObject({ code: "rejected" });
  expect(await push(segment(2))).toMatchObject({ outcome: "archived" });
  expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({
    systemIdentifier: SYSTEM_IDENTIFIER,
  });
});

test("on a full store the same content again is still a success, and new content fails", async () => {
  await push(segment(1));
  const full = () => {
    throw new WalarcError("store-failed", "no space is left", { status: 507 });
  };
  store.stage = async () => full();
  expect(await push(segment(1))).toMatchObject({ outcome: "already-archived" });
  await expect(push(segment(2))).rejects.toMatchObject({ code: "store-failed", status: 507 });
  const other = segment(1, { seed: "other" });
  await expect(push(other)).rejects.toMatchObject({ code: "conflict" });
});
