/** A web server that answers instead of the S3 server for a moment: a login, a page of repair. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import { S3Scene, settingsOf } from "../support/s3-scene.ts";
import { contentOf, objectOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const WAL = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const OTHER = "clusters/main/wal/00000001/00000000/000000010000000000000002";

let scene: S3Scene;
beforeEach(() => {
  scene = new S3Scene();
});
afterEach(() => scene[Symbol.asyncDispose]());

test("a push is not done, a fetch not served and a miss not told by a page", async () => {
  const server = await scene.start({ checksums: "ignored" });
  const counted = await scene.open(server);
  server.script = [{ kind: "page" }];
  expect(await put(counted.store, WAL, "content")).toBe("created");
  expect(counted.requests()).toEqual(["put ok", "head refused", "put ok"]);
  server.script = [{ kind: "page" }];
  expect(await contentOf(counted.store, WAL)).toBe("content");
  server.script = [{ kind: "page" }];
  expect(await counted.store.open(OTHER, { signal })).toBeUndefined();
});

test("nothing takes the place of an object that was put for another content", async () => {
  const server = await scene.start();
  const { store } = await scene.open(server);
  const repair = async (bytes: Buffer) => {
    await using staged = await store.stage("main", { signal });
    await staged.write(bytes);
    await staged.repair(WAL, { signal });
  };
  await repair(objectOf({ sha256: "0".repeat(64) }));
  const stored = server.bucket.get(WAL);
  // As after a reading that somebody else answered.
  const other = repair(objectOf({ sha256: "1".repeat(64) }));
  await expect(other).rejects.toMatchObject({ code: "store-failed" });
  expect(server.bucket.get(WAL)).toEqual(stored);
  await repair(objectOf({ sha256: "0".repeat(64) }));
});

test("a page in the place of the mark is no reason to refuse the bucket for good", async () => {
  const server = await scene.start();
  await put((await scene.open(server)).store, WAL, "content");
  server.script = Array.from({ length: 8 }, () => ({ kind: "page" }));
  const store = scene.stack.use(await S3Store.open(settingsOf(server)));
  await expect(store.probe({ signal })).rejects.toThrow(/web page/);
  server.script = [];
  expect(await contentOf(store, WAL)).toBe("content");
});
