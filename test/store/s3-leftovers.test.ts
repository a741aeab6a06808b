/** What daemons leave in a bucket that were killed in their start. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { S3Fault } from "../support/s3-fault.ts";
import type { S3Server } from "../support/s3-server.ts";
import { S3Scene } from "../support/s3-scene.ts";
import { contentOf, put } from "./objects.ts";

const REFUSED: S3Fault = { kind: "refuse", code: "AccessDenied" };
const HOUR_MS = 3_600_000;
const WAL = "clusters/main/wal/00000001/00000000/000000010000000000000001";

let scene: S3Scene;
let server: S3Server;
beforeEach(async () => {
  scene = new S3Scene();
  server = await scene.start();
});
afterEach(() => scene[Symbol.asyncDispose]());

function leave(name: string, ageMs: number): void {
  server.bucket.put(`probes/${name}`, Buffer.from("first"), {});
  server.bucket.age(`probes/${name}`, ageMs);
}

const left = () => server.bucket.keys().filter((key) => key.startsWith("probes/"));

test("goes with the start of the next one, but for what another may be using just now", async () => {
  const names = Array.from({ length: 40 }, (_, at) => `of-${at}`);
  for (const name of names) leave(name, 2 * HOUR_MS);
  leave("of-a-starting-one", 60_000);
  leave("from-before-the-clock-was-set-back", -10 * HOUR_MS);
  const { store } = await scene.open(server);
  expect(left()).toEqual(["probes/from-before-the-clock-was-set-back", "probes/of-a-starting-one"]);
  await put(store, WAL, "content");
  expect(await contentOf(store, WAL)).toBe("content");
});

test("also goes where a server removes but one at a time", async () => {
  server = await scene.start({ multiDelete: "refused" });
  leave("old", 2 * HOUR_MS);
  await scene.open(server);
  expect(left()).toEqual([]);
});

test("stays where the server does not let anybody look, and hinders no start", async () => {
  await scene.open(server);
  leave("old", 2 * HOUR_MS);
  const before = server.log.length;
  await scene.open(server);
  expect(left()).toEqual([]);
  leave("old", 2 * HOUR_MS);
  // It is the last look of a start, when all that the server must be able to do is known.
  const look = server.log.slice(before).findLastIndex(({ operation }) => {
    return operation === "ListObjectsV2";
  });
  server.script = [...Array.from({ length: look }, () => undefined), REFUSED];
  await scene.open(server);
  expect(left()).toEqual(["probes/old"]);
});
