import { existsSync, readdirSync } from "node:fs";
import { mkdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PgWal } from "../../src/disk/pg-wal.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import { eventually } from "../support/eventually.ts";
import { type MadeFile, sha256Of, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

const { signal } = new AbortController();
let scene: ArchiveScene;

beforeEach(async () => {
  scene = await ArchiveScene.open();
  await mkdir(join(scene.root, "data/pg_wal/archive_status"), { recursive: true });
  await restart();
});

afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

/** A new daemon on the same store, as after a kill: it remembers nothing. */
async function restart(): Promise<CountingWal> {
  const localWal = new CountingWal(join(scene.root, "data"));
  await scene.restart([["main", { systemIdentifier: SYSTEM_IDENTIFIER, localWal }]]);
  return localWal;
}

/** The real one, which also counts. */
class CountingWal extends PgWal {
  scans = 0;
  readonly opened: string[] = [];
  /** Called at the end of each scan. */
  scanned: () => Promise<void> = async () => {};

  override async *ready(): AsyncGenerator<string, void, void> {
    this.scans += 1;
    yield* super.ready();
    await this.scanned();
  }

  override open(name: string): ReturnType<PgWal["open"]> {
    this.opened.push(name);
    return super.open(name);
  }
}

function placeOf(name: string): string {
  return join(scene.root, "data/pg_wal", name);
}

function statusOf(name: string, status: "ready" | "done"): string {
  return placeOf(`archive_status/${name}.${status}`);
}

/** As PostgreSQL does: the file first, then its status. */
async function finish(file: MadeFile): Promise<void> {
  await writeFile(placeOf(file.name), file.bytes);
  await writeFile(statusOf(file.name, "ready"), "");
}

async function identityOf(name: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(placeOf(name), { bigint: true });
  return `${dev}:${ino}:${size}:${mtimeNs}`;
}

/** One call of the archiver. */
async function call(name: string, systemIdentifier?: string) {
  const identity = await identityOf(name);
  const options = { identity, systemIdentifier, signal };
  const result = await scene.archive.pushLocal("main", requireWalName(name), options);
  await rename(statusOf(name, "ready"), statusOf(name, "done"));
  return result;
}

async function durable(...names: string[]): Promise<void> {
  await eventually(`${names.join(", ")} is archived`, () =>
    names.every((name) => existsSync(scene.objectPath(name))),
  );
}

function conflicts(): string[] {
  const directory = scene.path("conflicts");
  return existsSync(directory) ? readdirSync(directory) : [];
}

test("a call for one segment has the next ones archived, and their calls end at once", async () => {
  const wal = await restart();
  const files = [1, 2, 3, 4].map((number) => segment(number));
  for (const file of files) await finish(file);
  expect(await call(files[0]!.name)).not.toHaveProperty("isAhead");
  await durable(...files.map(({ name }) => name));
  wal.opened.length = 0;
  for (const { name, bytes } of files.slice(1)) {
    const sha256 = sha256Of(bytes);
    expect(await call(name)).toMatchObject({ outcome: "archived", sha256, isAhead: true });
    expect((await scene.fetch(name)).equals(bytes)).toBe(true);
  }
  expect(wal.opened).not.toEqual(expect.arrayContaining([files[1]!.name]));
});

test("nothing is archived ahead before the first call, nor without a .ready", async () => {
  for (const number of [1, 2]) await finish(segment(number));
  await writeFile(placeOf(segment(3).name), segment(3).bytes);
  await writeFile(statusOf(segment(4).name, "done"), "");
  await writeFile(placeOf(segment(4).name), segment(4).bytes);
  expect(existsSync(scene.objectPath(segment(1).name))).toBe(false);
  await call(segment(1).name);
  await durable(segment(2).name);
  await call(segment(2).name);
  expect(existsSync(scene.objectPath(segment(3).name))).toBe(false);
  expect(existsSync(scene.objectPath(segment(4).name))).toBe(false);
});

test("a file that loses its .ready before its turn is not archived ahead", async () => {
  const wal = await restart();
  for (let number = 1; number <= 8; number += 1) await finish(segment(number));
  wal.scanned = () => rm(statusOf(segment(8).name, "ready"));
  await call(segment(1).name);
  await eventually("its turn came", () => wal.opened.includes(segment(8).name));
  await durable(segment(7).name);
  for (let number = 2; number <= 7; number += 1) await call(segment(number).name);
  expect(existsSync(scene.objectPath(segment(8).name))).toBe(false);
});

test("PostgreSQL's own files are left as they are", async () => {
  const files = [1, 2, 3].map((number) => segment(number));
  for (const file of files) await finish(file);
  const before = readdirSync(placeOf("archive_status"));
  await scene.archive.pushLocal("main", requireWalName(files[0]!.name), {
    identity: await identityOf(files[0]!.name),
    signal,
  });
  await durable(...files.map(({ name }) => name));
  expect(readdirSync(placeOf("archive_status"))).toEqual(before);
});

test("another file under the name is compared, and refused when it differs", async () => {
  for (const number of [1, 2, 3]) await finish(segment(number));
  await call(segment(1).name);
  await durable(segment(2).name, segment(3).name);
  // pg_wal was put back from a copy: equal content in one file, other content in the next.
  await writeFile(placeOf("new"), segment(2).bytes);
  await rename(placeOf("new"), placeOf(segment(2).name));
  const second = await call(segment(2).name);
  expect(second).toMatchObject({ outcome: "already-archived" });
  expect(second).not.toHaveProperty("isAhead");
  await writeFile(placeOf(segment(3).name), segment(3, { seed: "other" }).bytes);
  await expect(call(segment(3).name)).rejects.toMatchObject({ code: "conflict" });
  expect(conflicts()).toHaveLength(1);
});

test("a recycled file is another file, though it is the same inode", async () => {
  for (const number of [1, 2]) await finish(segment(number));
  await call(segment(1).name);
  await durable(segment(2).name);
  await utimes(placeOf(segment(2).name), 1, 1);
  expect(await call(segment(2).name)).not.toHaveProperty("isAhead");
});

test("a conflict is met by the call alone, and kept once", async () => {
  await scene.push(segment(2));
  await finish(segment(1));
  await finish({ ...segment(2), bytes: segment(2, { seed: "other" }).bytes });
  await finish(segment(3));
  await call(segment(1).name);
  await durable(segment(3).name);
  expect(conflicts()).toEqual([]);
  await expect(call(segment(2).name)).rejects.toMatchObject({ code: "conflict" });
  expect(conflicts()).toHaveLength(1);
  expect((await scene.archive.status("main", { signal })).conflicts).toBe(1);
});

test("a file that is refused stops the look-ahead, and its own call says why", async () => {
  const wal = await restart();
  await finish(segment(1));
  await finish({ ...segment(2), bytes: segment(9).bytes });
  for (let number = 3; number < 12; number += 1) await finish(segment(number));
  await call(segment(1).name);
  await eventually("the bad one was tried", () => wal.opened.includes(segment(2).name));
  expect(existsSync(scene.objectPath(segment(11).name))).toBe(false);
  await expect(call(segment(2).name)).rejects.toMatchObject({ code: "rejected" });
  expect(existsSync(scene.objectPath(segment(2).name))).toBe(false);
});

test("behind a file that is refused nothing is archived, however often it is asked for", async () => {
  const wal = await restart();
  await finish(segment(1));
  await finish({ ...segment(2), bytes: segment(9).bytes });
  for (let number = 3; number < 30; number += 1) await finish(segment(number));
  await call(segment(1).name);
  await eventually("the bad one was tried", () => wal.opened.includes(segment(2).name));
  const refusal = { code: "rejected" };
  await expect(call(segment(2).name)).rejects.toMatchObject(refusal);
  const behind = [...wal.opened].sort().at(-1)!;
  for (let again = 0; again < 8; again += 1) {
    await expect(call(segment(2).name)).rejects.toMatchObject(refusal);
  }
  expect([...wal.opened].sort().at(-1)).toBe(behind);

  await writeFile(placeOf(segment(2).name), segment(2).bytes);
  await call(segment(2).name);
  await durable(segment(20).name);
});

test("a caller of another cluster gets nothing that was archived ahead", async () => {
  for (const number of [1, 2]) await finish(segment(number));
  await call(segment(1).name, SYSTEM_IDENTIFIER);
  await durable(segment(2).name);
  await expect(call(segment(2).name, "12345")).rejects.toMatchObject({ code: "rejected" });
});

test("after a restart what was archived ahead is compared", async () => {
  for (const number of [1, 2, 3]) await finish(segment(number));
  await call(segment(1).name);
  await durable(segment(2).name, segment(3).name);
  await restart();
  expect(await call(segment(2).name)).toMatchObject({ outcome: "already-archived" });
  await writeFile(placeOf(segment(3).name), segment(3, { seed: "other" }).bytes);
  await expect(call(segment(3).name)).rejects.toMatchObject({ code: "conflict" });
});

test("a file is remembered for one call: the next is compared", async () => {
  for (const number of [1, 2]) await finish(segment(number));
  await call(segment(1).name);
  await durable(segment(2).name);
  expect(await call(segment(2).name)).toHaveProperty("isAhead");
  await writeFile(statusOf(segment(2).name, "ready"), "");
  const again = await call(segment(2).name);
  expect(again).toMatchObject({ outcome: "already-archived" });
  expect(again).not.toHaveProperty("isAhead");
});

test("what was damaged since is not acknowledged from memory", async () => {
  for (const number of [1, 2]) await finish(segment(number));
  await call(segment(1).name);
  await durable(segment(2).name);
  await writeFile(scene.objectPath(segment(2).name), "rubbish");
  await expect(scene.fetch(segment(2).name)).rejects.toMatchObject({ code: "corrupt" });
  expect(await call(segment(2).name)).toMatchObject({ outcome: "archived" });
  expect((await scene.fetch(segment(2).name)).equals(segment(2).bytes)).toBe(true);
});

test("a file that vanishes with its status is nobody's loss", async () => {
  for (const number of [1, 2, 3]) await finish(segment(number));
  await rm(placeOf(segment(2).name));
  await call(segment(1).name);
  await durable(segment(3).name);
  expect(await call(segment(3).name)).toMatchObject({ outcome: "archived" });
});

test("a long backlog is drained with few readings of the directory, and never far ahead", async () => {
  const wal = await restart();
  const files = Array.from({ length: 80 }, (_, index) => segment(index + 1));
  for (const file of files) await finish(file);
  await call(files[0]!.name);
  await durable(files[20]!.name);
  expect(existsSync(scene.objectPath(files[50]!.name))).toBe(false);
  for (const { name } of files.slice(1)) await call(name);
  expect(wal.scans).toBeLessThan(5);
});
