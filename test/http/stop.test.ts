import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { HttpScene } from "../support/http-scene.ts";

const PATH = "/v1/clusters/main/wal/000000010000000A000000FF";
const PUT = `PUT ${PATH} HTTP/1.1\r\nhost: x\r\n`;

test("a stop lets running requests finish and takes no new ones", async () => {
  await using scene = await HttpScene.open({ shutdownGraceMs: 60_000 });
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.archive.beforePush = () => promise;
  using idle = await scene.wire();
  await idle.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
  expect(await idle.answered()).toBe(200);
  using silent = await scene.wire();
  using unix = await scene.wire("unix");
  using tcp = await scene.wire();
  for (const wire of [unix, tcp]) await wire.say(`${PUT}content-length: 4\r\n\r\nbody`);
  using slow = await scene.wire();
  await slow.say(`${PUT}content-length: 4\r\n\r\nbo`);
  await eventually("the bodies were read", () => scene.archive.readBytes === 10);

  const stopped = scene.stop();
  await idle.closed();
  await silent.closed();
  await expect(scene.wire()).rejects.toThrow("ECONNREFUSED");
  await slow.say("dy");
  resolve();
  for (const wire of [unix, tcp, slow]) {
    expect(await wire.answered()).toBeLessThan(300);
    expect(wire.text).toMatch(/connection: close/i);
    await wire.closed();
  }
  await stopped;
});

test("a stop waits no longer than its grace", async () => {
  await using scene = await HttpScene.open({ shutdownGraceMs: 300 });
  scene.archive.beforePush = () => new Promise(() => {});
  using wire = await scene.wire();
  await wire.say(`${PUT}content-length: 4\r\n\r\nbody`);
  await eventually("the body was read", () => scene.archive.readBytes === 4);
  const startedAt = performance.now();
  await scene.stop();
  expect(performance.now() - startedAt).toBeLessThan(3000);
  await wire.closed();
  expect(wire.status).toBe(0);
  await scene.logged("push aborted");
});

test("a connection whose answer promised to keep it is closed with the answer", async () => {
  await using scene = await HttpScene.open({ shutdownGraceMs: 60_000 });
  scene.archive.files.get("main")?.set(PATH.slice(-24), Buffer.alloc(32 * 1024 * 1024));
  using wire = await scene.wire();
  wire.socket.pause();
  await wire.say(`GET ${PATH} HTTP/1.1\r\nhost: x\r\n\r\n`);
  await eventually("the answer began", () => scene.archive.openObjects === 1);
  const stopped = scene.stop();
  wire.socket.resume();
  await wire.closed();
  await stopped;
  expect(wire.text).toMatch(/^HTTP\/1.1 200/);
  expect(wire.text.length).toBeGreaterThan(32 * 1024 * 1024);
});

test("a stop before anything was asked takes no time", async () => {
  const scene = await HttpScene.open({ shutdownGraceMs: 60_000 });
  const startedAt = performance.now();
  await scene[Symbol.asyncDispose]();
  expect(performance.now() - startedAt).toBeLessThan(2000);
});
