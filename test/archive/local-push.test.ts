import { mkdir, rename, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PgWal } from "../../src/disk/pg-wal.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import { type MadeFile, sha256Of, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

const { signal } = new AbortController();
let scene: ArchiveScene;

beforeEach(async () => {
  scene = await ArchiveScene.open();
  await mkdir(join(scene.root, "data/pg_wal"), { recursive: true });
  const localWal = new PgWal(join(scene.root, "data"));
  await scene.restart([
    ["main", { systemIdentifier: SYSTEM_IDENTIFIER, localWal }],
    ["elsewhere", { systemIdentifier: SYSTEM_IDENTIFIER }],
  ]);
});

afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

function placeOf(name: string): string {
  return join(scene.root, "data/pg_wal", name);
}

async function place(file: MadeFile): Promise<string> {
  await writeFile(placeOf(file.name), file.bytes);
  return identityOf(placeOf(file.name));
}

/** As the client makes it. */
async function identityOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  return `${dev}:${ino}:${size}:${mtimeNs}`;
}

function push(name: string, identity: string, cluster = "main") {
  return scene.archive.pushLocal(cluster, requireWalName(name), { identity, signal });
}

test("a segment of the data directory is archived without being sent", async () => {
  const file = segment(1);
  const identity = await place(file);
  const sha256 = sha256Of(file.bytes);
  expect(await push(file.name, identity)).toMatchObject({ outcome: "archived", sha256 });
  expect((await scene.fetch(file.name)).equals(file.bytes)).toBe(true);
  expect(await push(file.name, identity)).toMatchObject({ outcome: "already-archived", sha256 });
});

test("a cluster without a data directory, or without the file, has to be sent it", async () => {
  const identity = await place(segment(1));
  const usage = { code: "usage" };
  await expect(push(segment(1).name, identity, "elsewhere")).rejects.toMatchObject(usage);
  await expect(push(segment(2).name, identity)).rejects.toMatchObject(usage);
  await expect(scene.fetch(segment(1).name)).rejects.toMatchObject({ code: "unknown-cluster" });
});

test("only the very file that the caller means is taken", async () => {
  const identity = await place(segment(1));
  await place({ ...segment(2), name: "other" });
  await rename(placeOf("other"), placeOf(segment(1).name));
  await expect(push(segment(1).name, identity)).rejects.toMatchObject({ code: "usage" });
});

test("a link is not followed out of the data directory", async () => {
  const outside = join(scene.root, "outside");
  await writeFile(outside, segment(1).bytes);
  await symlink(outside, placeOf(segment(1).name));
  const identity = await identityOf(outside);
  await expect(push(segment(1).name, identity)).rejects.toMatchObject({ code: "usage" });
});

test("a file that changes while it is read is not archived", async () => {
  const file = segment(1);
  const identity = await place(file);
  const opened = await new PgWal(join(scene.root, "data")).open(file.name);
  await using _closed = opened;
  expect(opened.identity).toBe(identity);
  await utimes(placeOf(file.name), 1, 1);
  await expect(Array.fromAsync(opened.chunks())).rejects.toMatchObject({ code: "rejected" });
});

test("what was read of a file that was given up stays as it was while the next one is read", async () => {
  const [first, second] = [segment(1), segment(2)];
  for (const file of [first, second]) await place(file);
  const wal = new PgWal(join(scene.root, "data"));
  const read = async (name: string) => {
    await using file = await wal.open(name);
    for await (const chunk of file.chunks()) return chunk;
    throw new Error(`${name} is empty`);
  };
  const chunk = await read(first.name);
  expect(chunk.equals(first.bytes)).toBe(true);
  expect((await read(second.name)).equals(second.bytes)).toBe(true);
  expect(chunk.equals(first.bytes)).toBe(true);
});
