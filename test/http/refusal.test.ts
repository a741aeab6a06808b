import { describe, expect, test } from "vitest";
import type { Token } from "../../src/http/auth.ts";
import { WalarcError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import { HttpScene, Wire } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";
const PATH = `/v1/clusters/main/wal/${NAME}`;
const PUT = `PUT ${PATH} HTTP/1.1\r\nhost: x\r\n`;
const MB = 1024 * 1024;

const TOKENS: Token[] = (["push", "fetch"] as const).map((scope) => ({
  name: scope,
  sha256: digestOf(Buffer.from(`walarc_${scope}`)),
  clusters: ["main"],
  scopes: [scope],
}));

describe("a push that is refused by its head", () => {
  test.each([
    ["", 401],
    ["authorization: Bearer walarc_fetch\r\n", 403],
    ["authorization: Bearer walarc_push\r\nwalarc-sha256: no\r\n", 400],
    ["authorization: Bearer walarc_push\r\ncontent-encoding: gzip\r\n", 415],
  ])("with %j is answered before any of its body came", async (headers, status) => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    using wire = await scene.wire();
    await wire.say(`${PUT}${headers}content-length: ${16 * MB}\r\n\r\n`);
    expect(await wire.answered()).toBe(status);
    expect(wire.text).toMatch(/connection: close/i);
    expect(scene.archive.readBytes).toBe(0);
  });

  test("is never asked for its body", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const expectation = "expect: 100-continue\r\ncontent-length: 4\r\n";
    for (const [headers, status] of [
      ["", 401],
      ["authorization: Bearer walarc_fetch\r\n", 403],
    ] as const) {
      using wire = await scene.wire();
      await wire.say(`${PUT}${headers}${expectation}\r\n`);
      expect(await wire.answered()).toBe(status);
      expect(wire.text).not.toContain("100 Continue");
      await wire.closed();
    }
    expect(scene.archive.readBytes).toBe(0);
  });

  test("by the archive is not asked for its body either", async () => {
    await using scene = await HttpScene.open();
    scene.archive.beforeBody = async () => {
      throw new WalarcError("rejected", "too long for this cluster", { status: 413 });
    };
    using wire = await scene.wire();
    await wire.say(`${PUT}expect: 100-continue\r\ncontent-length: 4\r\n\r\n`);
    expect(await wire.answered()).toBe(413);
    expect(wire.text).not.toContain("100 Continue");
  });

  test("as nothing else is asked for one: a good push is", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    using wire = await scene.wire();
    const head = `${PUT}authorization: Bearer walarc_push\r\nexpect: 100-continue\r\n`;
    await wire.say(`${head}content-length: 4\r\n\r\n`);
    await eventually("the body is asked for", () => wire.text.includes("100 Continue\r\n\r\n"));
    await wire.say("body");
    expect(await wire.answered()).toBe(201);
  });

  test("an expectation nobody knows is refused", async () => {
    await using scene = await HttpScene.open();
    using wire = await scene.wire();
    await wire.say(`${PUT}expect: miracles\r\ncontent-length: 4\r\n\r\nbody`);
    expect(await wire.answered()).toBe(417);
    expect(scene.archive.files.get("main")?.size).toBe(0);
  });
});

/** Writes it all before it looks for an answer, as simple clients do. */
async function sendThenRead(scene: HttpScene, head: string, bytes: number): Promise<Wire> {
  const wire = await scene.wire();
  wire.socket.pause();
  await wire.say(`${head}content-length: ${bytes}\r\n\r\n`);
  await wire.say(Buffer.alloc(bytes));
  wire.socket.resume();
  return wire;
}

describe("a client that writes everything before it reads", () => {
  test("reads the refusal of 16 MB when it is known", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const head = `${PUT}authorization: Bearer walarc_fetch\r\n`;
    using wire = await sendThenRead(scene, head, 16 * MB);
    expect(await wire.answered()).toBe(403);
    expect(wire.text).toContain('"code":"denied"');
    await wire.closed();
  });

  test("reads the refusal of a little when it is a stranger", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    using wire = await sendThenRead(scene, PUT, MB / 2);
    expect(await wire.answered()).toBe(401);
    await wire.closed();
  });

  test("is cut off when it is a stranger with much", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    using wire = await scene.wire();
    const server = new Promise<{ bytesRead: number }>((resolve) => {
      scene.servers[0]?.once("connection", resolve);
    });
    using second = await scene.wire();
    await second.say(`${PUT}content-length: ${512 * MB}\r\n\r\n`);
    for (let sent = 0; sent < 64 && !second.isClosed; sent += 1) await second.say(Buffer.alloc(MB));
    await second.closed();
    expect((await server).bytesRead).toBeLessThan(4 * MB);
    expect(wire.isClosed).toBe(false);
  });

  test("and never ends is cut off in time, known or not", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    for (const headers of ["", "authorization: Bearer walarc_fetch\r\n"]) {
      using wire = await scene.wire();
      const startedAt = performance.now();
      await wire.say(`${PUT}${headers}content-length: ${16 * MB}\r\n\r\nbody`);
      await wire.closed();
      expect(performance.now() - startedAt).toBeLessThan(5000);
    }
  });

  test("may go on with the connection when its whole body was read", async () => {
    await using scene = await HttpScene.open();
    scene.archive.beforePush = async () => {
      throw new WalarcError("conflict", "other content");
    };
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: 4\r\n\r\nbody`);
    expect(await wire.answered()).toBe(409);
    await wire.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    await eventually("the second answer came", () => wire.text.includes("HTTP/1.1 200"));
  });
});

describe("many connections", () => {
  test("thousands that do nothing keep no push waiting", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    using stack = new DisposableStack();
    for (let batch = 0; batch < 20; batch += 1) {
      const opening = Array.from({ length: 100 }, () => scene.wire());
      for (const wire of await Promise.all(opening)) stack.use(wire);
    }
    const startedAt = performance.now();
    const headers = { authorization: "Bearer walarc_push" };
    const body = Buffer.alloc(16 * MB);
    const answer = await scene.ask({ method: "PUT", path: PATH, body, headers });
    expect(answer.status).toBe(201);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  test("strangers give way to a newcomer, oldest first; those who proved something stay", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS, limits: { connectionsMax: 3 } });
    const known = "authorization: Bearer walarc_fetch\r\n";
    using friend = await scene.wire();
    await friend.say(`GET ${PATH} HTTP/1.1\r\nhost: x\r\n${known}\r\n`);
    expect(await friend.answered()).toBe(404);
    using oldest = await scene.wire();
    using younger = await scene.wire();
    using newest = await scene.wire();
    await oldest.closed();
    await newest.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    expect(await newest.answered()).toBe(200);
    expect([friend.isClosed, younger.isClosed]).toEqual([false, false]);
  });

  test("those who work are never the ones to go", async () => {
    await using scene = await HttpScene.open({ limits: { connectionsMax: 2 } });
    const { promise, resolve } = Promise.withResolvers<void>();
    scene.archive.beforePush = () => promise;
    using first = await scene.wire();
    using second = await scene.wire();
    for (const wire of [first, second]) await wire.say(`${PUT}content-length: 4\r\n\r\nbody`);
    await eventually("both pushes are under way", () => scene.archive.readBytes === 8);
    using third = await scene.wire();
    await third.closed();
    resolve();
    expect(await first.answered()).toBe(201);
    expect(await second.answered()).toBeLessThan(300);
  });

  test("and yet nobody holds all of them: what is left is for others", async () => {
    const tokens = ["a", "b"].map((name) => ({
      name,
      sha256: digestOf(Buffer.from(`walarc_${name}`)),
      clusters: ["main"],
      scopes: ["push"] as const,
    }));
    await using scene = await HttpScene.open({ tokens, limits: { connectionsMax: 8 } });
    const { promise, resolve } = Promise.withResolvers<void>();
    scene.archive.beforePush = () => promise;
    using wires = new DisposableStack();
    const push = async (name: string) => {
      const wire = wires.adopt(await scene.wire(), (one) => one[Symbol.dispose]());
      const head = PUT.replace("\r\n", `\r\nauthorization: Bearer walarc_${name}\r\n`);
      await wire.say(`${head}content-length: 4\r\n\r\nbody`);
      return wire;
    };
    const first = [];
    for (let count = 0; count < 7; count += 1) first.push(await push("a"));
    await eventually("all are under way", () => scene.archive.readBytes === 28);
    expect(await (await push("a")).answered()).toBe(429);
    const other = await push("b");
    await eventually("the other is under way", () => scene.archive.readBytes === 32);
    resolve();
    for (const wire of [...first, other]) expect(await wire.answered()).toBeLessThan(300);
  });
});
