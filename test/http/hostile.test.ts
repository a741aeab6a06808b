import { describe, expect, test } from "vitest";
import { constants, zstdCompressSync } from "node:zlib";
import type { Token } from "../../src/http/auth.ts";
import { eventually } from "../support/eventually.ts";
import { HttpScene, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";
const PATH = `/v1/clusters/main/wal/${NAME}`;
const PUT = `PUT ${PATH} HTTP/1.1\r\nhost: x\r\n`;
const MB = 1024 * 1024;

const TOKEN: Token = {
  name: "pusher",
  sha256: digestOf(Buffer.from("walarc_pusher")),
  clusters: ["main"],
  scopes: ["push"],
};

/** Nothing was stored, and the server still does its work. */
async function expectUnharmed(scene: HttpScene): Promise<void> {
  expect(scene.archive.files.get("main")?.size).toBe(0);
  const push = { method: "PUT", path: PATH, body: Buffer.from("body"), over: "unix" } as const;
  expect((await scene.ask(push)).status).toBe(201);
}

describe("a request that can be read in two ways is refused", () => {
  test.each([
    ["length and chunks", "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nbody"],
    ["chunks and length", "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\nbody"],
    ["two lengths", "content-length: 4\r\ncontent-length: 5\r\n\r\nbody"],
    ["two hosts", "host: localhost\r\ncontent-length: 4\r\n\r\nbody"],
    [
      "two tokens",
      "authorization: Bearer a\r\nauthorization: Bearer b\r\ncontent-length: 4\r\n\r\nbody",
    ],
    ["the same length twice", "content-length: 4\r\ncontent-length: 4\r\n\r\nbody"],
    ["a list of lengths", "content-length: 4, 4\r\n\r\nbody"],
    ["a space before the colon", "content-length : 4\r\n\r\nbody"],
    ["a negative length", "content-length: -4\r\n\r\nbody"],
    ["a signed length", "content-length: +4\r\n\r\nbody"],
    ["a hex length", "content-length: 0x4\r\n\r\nbody"],
    ["an endless length", `content-length: ${"9".repeat(30)}\r\n\r\nbody`],
    ["a compressed transfer", "transfer-encoding: gzip, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ["chunks in chunks", "transfer-encoding: chunked, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ["no chunks at all", "transfer-encoding: identity\r\n\r\nbody"],
    ["almost chunks", "transfer-encoding: xchunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ["chunks and more", "transfer-encoding: chunked;q=1\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ["a bad chunk size", "transfer-encoding: chunked\r\n\r\n4x\r\nbody\r\n0\r\n\r\n"],
    ["a negative chunk", "transfer-encoding: chunked\r\n\r\n-4\r\nbody\r\n0\r\n\r\n"],
    ["a chunk too large", "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nbody"],
    ["a chunk longer than told", "transfer-encoding: chunked\r\n\r\n2\r\nbody\r\n0\r\n\r\n"],
    ["a folded header", "x: a\r\n b\r\ncontent-length: 4\r\n\r\nbody"],
    ["lines without CR", "content-length: 4\n\nbody"],
    ["a null byte", "x: a\0b\r\ncontent-length: 4\r\n\r\nbody"],
    ["no such protocol", "\r\nbody"],
  ])("%s", async (_what, rest) => {
    await using scene = await HttpScene.open();
    using wire = await scene.wire();
    const start = _what === "no such protocol" ? `PUT ${PATH} SMTP/1.1\r\n` : PUT;
    await wire.say(start + rest);
    expect(await wire.answered()).toBe(400);
    expect(wire.text).toContain("application/problem+json");
    await wire.closed();
    expect(wire.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    await expectUnharmed(scene);
  });

  test("a second request in the body of a refused one is never looked at", async () => {
    await using scene = await HttpScene.open({ tokens: [TOKEN] });
    const inner = `${PUT}authorization: Bearer walarc_pusher\r\ncontent-length: 4\r\n\r\nbody`;
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: ${inner.length}\r\n\r\n${inner}`);
    expect(await wire.answered()).toBe(401);
    await wire.closed();
    expect(wire.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    await expectUnharmed(scene);
  });
});

describe("heads have limits", () => {
  test.each([
    ["a header of 20 kB", `${PUT}x: ${"a".repeat(20_000)}\r\n\r\n`, 431],
    ["a hundred headers", `${PUT}${"x: a\r\n".repeat(101)}content-length: 0\r\n\r\n`, 431],
    ["a path of 20 kB", `GET /${"a".repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431],
    ["a path of escapes", `GET /${"%25".repeat(5000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 404],
    ["no host", `GET /healthz HTTP/1.1\r\n\r\n`, 400],
    ["an expectation nobody knows", `${PUT}expect: 200-ok\r\ncontent-length: 4\r\n\r\n`, 417],
    ["two expectations", `${PUT}expect: 100-continue, x\r\ncontent-length: 4\r\n\r\n`, 417],
  ])("%s is answered with its status, and says why", async (_what, head, status) => {
    await using scene = await HttpScene.open();
    using wire = await scene.wire();
    await wire.say(head);
    expect(await wire.answered()).toBe(status);
    await eventually("it says why", () => /"code":"usage","detail":"[^"]/.test(wire.text));
    expect(wire.text).toContain("application/problem+json");
    await expectUnharmed(scene);
  });

  test("a request of HTTP/1.0 needs no host", async () => {
    await using scene = await HttpScene.open();
    using wire = await scene.wire();
    await wire.say("GET /healthz HTTP/1.0\r\n\r\n");
    expect(await wire.answered()).toBe(200);
  });

  test("a flood of chunk extensions is cut off", async () => {
    await using scene = await HttpScene.open();
    using wire = await scene.wire();
    await wire.say(`${PUT}transfer-encoding: chunked\r\n\r\n4;${"a".repeat(MB)}`);
    expect(await wire.answered()).toBe(413);
    await wire.closed();
    await expectUnharmed(scene);
  });

  test("a head that never ends is cut off", async () => {
    await using scene = await HttpScene.open();
    using silent = await scene.wire();
    using slow = await scene.wire();
    await slow.say(PUT);
    expect(await slow.answered()).toBe(408);
    await eventually("it says why", () => slow.text.includes('"code":"usage","detail":"'));
    await slow.closed();
    await silent.closed();
    await expectUnharmed(scene);
  });
});

describe("bodies have limits", () => {
  const limits = { bodyBytesMax: MB };

  test("a body announced too long is refused unread", async () => {
    await using scene = await HttpScene.open({ limits });
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: ${MB + 1}\r\n\r\n`);
    expect(await wire.answered()).toBe(413);
    expect(wire.text).toContain('"code":"rejected"');
    expect(scene.archive.readBytes).toBe(0);
  });

  test("a body that grows too long in chunks is refused on the way", async () => {
    await using scene = await HttpScene.open({ limits });
    const headers = { "transfer-encoding": "chunked" };
    const body = Buffer.alloc(4 * MB);
    const answer = await scene.ask({ method: "PUT", path: PATH, body, headers });
    expect([answer.status, problemOf(answer).code]).toEqual([413, "rejected"]);
    expect(scene.archive.readBytes).toBeLessThanOrEqual(MB);
    await expectUnharmed(scene);
  });

  test("a zstd bomb is stopped at the limit", async () => {
    await using scene = await HttpScene.open({ limits });
    const body = zstdCompressSync(Buffer.alloc(256 * MB));
    expect(body.length).toBeLessThan(64 * 1024);
    const headers = { "content-encoding": "zstd" };
    const answer = await scene.ask({ method: "PUT", path: PATH, body, headers });
    expect([answer.status, problemOf(answer).code]).toEqual([413, "rejected"]);
    expect(scene.archive.readBytes).toBeLessThanOrEqual(MB);
    await expectUnharmed(scene);
  });

  test("a frame that asks for hundreds of megabytes of window is refused", async () => {
    await using scene = await HttpScene.open();
    const params = {
      [constants.ZSTD_c_windowLog]: 27,
      [constants.ZSTD_c_contentSizeFlag]: 0,
    };
    const body = zstdCompressSync(Buffer.alloc(MB, "wal"), { params });
    const wide = Buffer.from(body);
    // Window descriptor: exponent 17 over 2^10 (RFC 8878, 3.1.1.1.2).
    wide[4] = (wide[4] ?? 0) & ~0x20;
    wide[5] = 17 << 3;
    const headers = { "content-encoding": "zstd" };
    const answer = await scene.ask({ method: "PUT", path: PATH, body: wide, headers });
    expect([answer.status, problemOf(answer).code]).toEqual([422, "rejected"]);
  });

  test("a body that falls silent is given up", async () => {
    await using scene = await HttpScene.open({ limits: { stallMs: 300 } });
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: 100\r\n\r\nbody`);
    expect(await wire.answered()).toBe(408);
    expect(wire.text).toContain('"code":"unreachable"');
    await wire.closed();
    await expectUnharmed(scene);
  });

  test("a body that drips is given up at the deadline", async () => {
    await using scene = await HttpScene.open({ limits: { pushDeadlineMs: 600 } });
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: 1000\r\n\r\n`);
    const dripping = setInterval(() => void wire.say("b"), 20);
    try {
      expect(await wire.answered()).toBe(408);
      expect(wire.text).toContain('"code":"unreachable"');
    } finally {
      clearInterval(dripping);
    }
    await wire.closed();
    await expectUnharmed(scene);
  });

  test("a store that hangs is reported at the deadline, and not blamed on the client", async () => {
    await using scene = await HttpScene.open({ limits: { pushDeadlineMs: 300 } });
    scene.archive.beforePush = () => new Promise(() => {});
    const body = Buffer.from("body");
    const answer = await scene.ask({ method: "PUT", path: PATH, body });
    expect([answer.status, problemOf(answer).code]).toEqual([503, "store-failed"]);
    scene.archive.beforePush = undefined;
    await expectUnharmed(scene);
  });

  test("a store that stops in the middle of a body is not blamed on the client either", async () => {
    await using scene = await HttpScene.open({ limits: { pushDeadlineMs: 600 } });
    scene.archive.beforeBody = () => new Promise(() => {});
    const body = Buffer.alloc(16 * MB);
    const answer = await scene.ask({ method: "PUT", path: PATH, body });
    expect([answer.status, problemOf(answer).code]).toEqual([503, "store-failed"]);
  });

  test("nothing is read that the archive does not take", async () => {
    await using scene = await HttpScene.open();
    const { promise: taken, resolve: take } = Promise.withResolvers<void>();
    scene.archive.beforeBody = () => taken;
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: ${200 * MB}\r\n\r\n`);
    wire.socket.write(Buffer.alloc(200 * MB));
    const pending = () => wire.socket.writableLength;
    await eventually("the connection is full", async () => {
      const before = pending();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return before === pending();
    });
    // What went out stands in the kernel's buffers and in one of ours.
    expect(200 * MB - pending()).toBeLessThan(20 * MB);
    take();
    expect(await wire.answered()).toBe(201);
  });
});

describe("a client that dies", () => {
  test.each(["closes", "resets", "half closes"])(
    "in the middle of a body (%s) leaves nothing behind but a log line",
    async (how) => {
      await using scene = await HttpScene.open();
      using wire = await scene.wire();
      await wire.say(`${PUT}content-length: 100000\r\n\r\n${"b".repeat(50_000)}`);
      await eventually("the body is being read", () => scene.archive.readBytes > 0);
      if (how === "closes") wire.socket.destroy();
      else if (how === "resets") wire.socket.resetAndDestroy();
      else wire.socket.end();
      const line = await scene.logged("push aborted");
      expect(line).toMatchObject({ level: "warn", wal: NAME, cluster: "main" });
      expect(await scene.metric('walarc_push_total{cluster="main",outcome="failed"}')).toBe(1);
      await expectUnharmed(scene);
    },
  );

  test("in the middle of a chunk or a frame leaves nothing behind either", async () => {
    await using scene = await HttpScene.open();
    const frame = zstdCompressSync(Buffer.alloc(MB, "wal"));
    for (const bytes of [
      `${PUT}transfer-encoding: chunked\r\n\r\n400\r\nbody`,
      `${PUT}transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n`,
      Buffer.concat([
        Buffer.from(`${PUT}content-encoding: zstd\r\ncontent-length: ${frame.length}\r\n\r\n`),
        frame.subarray(0, -2),
      ]),
    ]) {
      scene.logLines.length = 0;
      using wire = await scene.wire();
      await wire.say(bytes);
      wire.socket.destroy();
      await scene.logged("push aborted");
    }
    await expectUnharmed(scene);
  });

  test("while the archive works ends the work", async () => {
    await using scene = await HttpScene.open();
    const reason = new Promise<unknown>((resolve) => {
      scene.archive.beforePush = (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            resolve(signal.reason);
            reject(signal.reason as Error);
          });
        });
    });
    using wire = await scene.wire();
    await wire.say(`${PUT}content-length: 4\r\n\r\nbody`);
    await eventually("the body was read", () => scene.archive.readBytes === 4);
    wire.socket.destroy();
    expect(String(await reason)).toContain("closed the connection");
    await scene.logged("push aborted");
  });
});
