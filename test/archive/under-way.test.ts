import { afterEach, beforeEach, expect, test } from "vitest";
import { requireWalName } from "../../src/wal/name.ts";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import type { MadeFile } from "../support/wal-maker.ts";

const { signal } = new AbortController();
const [ONE, TWO, THREE] = [segment(1), segment(2), segment(3)];
let scene: ArchiveScene;

beforeEach(async () => {
  scene = await ArchiveScene.open();
  await scene.push(ONE);
  await scene.push(THREE);
});

afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

/** A push whose last bytes come when `end` is settled. */
function slowPush({ name, bytes }: MadeFile, end: Promise<void>) {
  async function* body() {
    yield bytes.subarray(0, 60_000);
    await end;
    yield bytes.subarray(60_000);
  }
  const sizeBytes = bytes.length;
  return scene.archive.push("main", requireWalName(name), body(), { sizeBytes, signal });
}

test("a fetch of a segment that is just being pushed gets it, and is told of no gap", async () => {
  const end = Promise.withResolvers<void>();
  const push = slowPush(TWO, end.promise);
  const fetch = scene.fetch(TWO.name);
  const first = await Promise.race([fetch, scene.fetch(THREE.name).then(() => "not yet")]);
  expect(first).toBe("not yet");
  end.resolve();
  expect((await fetch).equals(TWO.bytes)).toBe(true);
  expect(await push).toMatchObject({ outcome: "archived" });
});

test("a fetch of a segment whose push fails is told what there is", async () => {
  const end = Promise.withResolvers<void>();
  const push = slowPush(TWO, end.promise);
  const fetch = scene.fetch(TWO.name);
  end.reject(new Error("the caller is gone"));
  await expect(push).rejects.toThrow("the caller is gone");
  await expect(fetch).rejects.toMatchObject({ code: "gap" });
});

test("a fetch that is given up waits for no push", async () => {
  const end = Promise.withResolvers<void>();
  const push = slowPush(TWO, end.promise);
  const caller = new AbortController();
  const fetch = scene.archive.fetch("main", requireWalName(TWO.name), { signal: caller.signal });
  caller.abort(new Error("gone"));
  await expect(fetch).rejects.toThrow("gone");
  end.resolve();
  await push;
});

test("a segment that is archived between the look for it and the answer is not called lost", async () => {
  const open = scene.store.open.bind(scene.store);
  scene.store.open = async (key, options) => {
    scene.store.open = open;
    const found = await open(key, options);
    await scene.push(TWO);
    return found;
  };
  expect((await scene.fetch(TWO.name)).equals(TWO.bytes)).toBe(true);
  expect((await scene.archive.status("main", { signal })).timelines[0]?.gaps).toEqual([]);
});
