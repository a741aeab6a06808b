import { afterAll, beforeAll, expect, test } from "vitest";
import { ArchivingServer, TakingArchive } from "../support/archiving-server.ts";
import { ClientScene } from "../support/client-scene.ts";
import { eventually } from "../support/eventually.ts";
import { segment } from "../support/recovering-server.ts";
import type { MadeFile } from "../support/wal-maker.ts";

/** More than are under way at once. */
const ALL = Array.from({ length: 8 }, (_, index) => segment(5 + index));
const [ONE, TWO, LAST] = [ALL[0], ALL[1], ALL.at(-1)] as [MadeFile, MadeFile, MadeFile];
const OK = { status: 0, signal: null, stdout: "", stderr: "" };

let scene: ClientScene;

beforeAll(async () => {
  scene = await ClientScene.create();
});
afterAll(async () => await scene[Symbol.asyncDispose]());

test("one command that calls two archives has a backlog archived ahead in both", async () => {
  await using one = await TakingArchive.open(scene);
  await using other = await TakingArchive.open(scene);
  await using server = await ArchivingServer.start(scene, ALL);
  const hold = Promise.withResolvers<void>();
  for (const { name } of ALL.slice(1)) one.holds.set(name, hold.promise);
  for (const archive of [one, other]) expect(await server.push(ONE, archive.url)).toEqual(OK);
  await eventually("the second has them all", () => other.has(LAST));
  hold.resolve();
  await eventually("the first has them all", () => one.has(LAST));
  for (const archive of [one, other]) {
    expect(await server.push(TWO, archive.url)).toEqual(OK);
    expect(archive.pushesOf(TWO)).toBe(1);
  }
});
