import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import { makeHistory, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

const { signal } = new AbortController();
let scene: ArchiveScene;

beforeEach(async () => {
  scene = await ArchiveScene.open();
});

afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

test("a missing segment is a gap while its timeline goes on, and absent at its end", async () => {
  await scene.push(segment(1));
  await scene.push(segment(3));
  await expect(scene.fetch(segment(2).name)).rejects.toMatchObject({ code: "gap" });
  await expect(scene.fetch(segment(4).name)).rejects.toMatchObject({ code: "absent" });
  await expect(scene.fetch("00000002.history")).rejects.toMatchObject({ code: "absent" });
});

test("what is older than the archive is told from what is missing in its middle", async () => {
  await scene.push(segment(3));
  await scene.push(segment(5));
  const older = { code: "gap", message: expect.stringContaining("older than all WAL") };
  await expect(scene.fetch(segment(2).name)).rejects.toMatchObject(older);
  await expect(scene.fetch(segment(4).name)).rejects.not.toMatchObject(older);
});

test("a history file that was lost before the start is not called absent", async () => {
  await scene.push(segment(3));
  await scene.push(makeHistory(2, [{ timeline: 1, switchLsn: "0/400100" }]));
  await scene.push(segment(4, { timeline: 2, pageTimeline: 1 }));
  await rm(scene.objectPath("00000002.history"));
  await scene.restart();
  await expect(scene.fetch("00000002.history")).rejects.toMatchObject({ code: "gap" });
  await expect(scene.fetch("00000003.history")).rejects.toMatchObject({ code: "absent" });
});

test("an object that vanished is never called absent", async () => {
  await scene.push(segment(1));
  await scene.push(segment(2));
  await scene.push(segment(3));
  await rm(scene.objectPath(segment(2).name));
  await expect(scene.fetch(segment(2).name)).rejects.toMatchObject({ code: "gap" });
  await rm(scene.objectPath(segment(3).name));
  for (let again = 0; again < 2; again += 1) {
    await expect(scene.fetch(segment(3).name)).rejects.toMatchObject({ code: "corrupt" });
  }
  const status = await scene.archive.status("main", { signal });
  expect(status.damaged).toEqual([segment(2).name, segment(3).name]);
  expect(await scene.push(segment(3))).toMatchObject({ outcome: "archived" });
  expect((await scene.fetch(segment(3).name)).equals(segment(3).bytes)).toBe(true);
});

test.each([
  ["a flipped byte", (bytes: Buffer) => bytes.fill(bytes[5000]! ^ 1, 5000, 5001)],
  ["a lost end", (bytes: Buffer) => bytes.subarray(0, bytes.length - 10)],
  ["nothing left", () => Buffer.alloc(0)],
  ["a neighbour's content", () => undefined],
])("an object with %s is corrupt until the same content is pushed again", async (_, damage) => {
  const file = segment(1);
  await scene.push(file);
  await scene.push(segment(2));
  const stored = await readFile(scene.objectPath(file.name));
  const neighbour = await readFile(scene.objectPath(segment(2).name));
  await writeFile(scene.objectPath(file.name), damage(Buffer.from(stored)) ?? neighbour);
  await expect(scene.fetch(file.name)).rejects.toMatchObject({ code: "corrupt" });
  expect((await scene.archive.status("main", { signal })).damaged).toEqual([file.name]);

  expect(await scene.push(file)).toMatchObject({ outcome: "archived" });
  expect((await scene.fetch(file.name)).equals(file.bytes)).toBe(true);
  expect((await scene.archive.status("main", { signal })).damaged).toEqual([]);
  expect(await readdir(scene.path("damaged"))).toHaveLength(1);
});

test("a damaged object keeps refusing another content as long as its digest can be read", async () => {
  await scene.push(segment(1, { seed: "right" }));
  const path = scene.objectPath(segment(1).name);
  const stored = await readFile(path);
  await writeFile(path, stored.fill(stored[5000]! ^ 1, 5000, 5001));
  await expect(scene.push(segment(1, { seed: "wrong" }))).rejects.toMatchObject({
    code: "conflict",
  });
});

test("the content keeps refusing another one when only the metadata are damaged", async () => {
  await scene.push(segment(1, { seed: "right" }));
  const path = scene.objectPath(segment(1).name);
  const stored = await readFile(path);
  await writeFile(path, stored.fill(stored.at(-3)! ^ 1, stored.length - 3, stored.length - 2));
  await expect(scene.push(segment(1, { seed: "wrong" }))).rejects.toMatchObject({
    code: "conflict",
  });
  const right = segment(1, { seed: "right" });
  expect(await scene.push(right)).toMatchObject({ outcome: "archived" });
  expect((await scene.fetch(right.name)).equals(right.bytes)).toBe(true);
});

test("a damaged binding is read again from the segments", async () => {
  await scene.push(segment(1));
  const path = scene.path("cluster.json");
  await truncate(path, 3);
  await scene.restart();
  const other = segment(2, { systemIdentifier: "7399999999999999999" });
  await expect(scene.push(other)).rejects.toMatchObject({ code: "rejected" });
  expect(await scene.push(segment(2))).toMatchObject({ outcome: "archived" });
  expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({
    systemIdentifier: SYSTEM_IDENTIFIER,
  });
});

test("on a full store the same content again is still a success, and new content fails", async () => {
  await scene.push(segment(1));
  const full = () => {
    throw new WalarcError("store-failed", "no space is left", { status: 507 });
  };
  scene.store.stage = async () => full();
  expect(await scene.push(segment(1))).toMatchObject({ outcome: "already-archived" });
  await expect(scene.push(segment(2))).rejects.toMatchObject({ code: "store-failed", status: 507 });
  const other = segment(1, { seed: "other" });
  await expect(scene.push(other)).rejects.toMatchObject({ code: "conflict" });
});
