import { randomBytes } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import { HttpScene, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";
const PATH = `/v1/clusters/main/wal/${NAME}`;
const BYTES = Buffer.concat([randomBytes(200_000), Buffer.alloc(300_000, "wal")]);

async function sceneWithFile(
  options: Parameters<typeof HttpScene.open>[0] = {},
): Promise<HttpScene> {
  const scene = await HttpScene.open(options);
  scene.archive.files.get("main")?.set(NAME, BYTES);
  return scene;
}

describe("a fetch", () => {
  test.each([
    [undefined, "plain"],
    ["gzip, br", "plain"],
    ["*", "plain"],
    ["zstd;q=0", "plain"],
    ["gzip, zstd; q=0.000", "plain"],
    ["zstd", "zstd"],
    ["gzip, ZSTD;q=0.5", "zstd"],
  ])("that accepts %s is served %s bytes with their digest", async (accepted, form) => {
    await using scene = await sceneWithFile();
    const headers = accepted === undefined ? {} : { "accept-encoding": accepted };
    const answer = await scene.ask({ path: PATH, headers });
    expect(answer.status).toBe(200);
    expect(answer.headers["walarc-sha256"]).toBe(digestOf(BYTES));
    expect(answer.headers["content-length"]).toBe(String(answer.body.length));
    expect(answer.headers["content-encoding"]).toBe(form === "zstd" ? "zstd" : undefined);
    expect(answer.headers.vary).toBe("accept-encoding");
    const plain = form === "zstd" ? zstdDecompressSync(answer.body) : answer.body;
    expect(plain).toEqual(BYTES);
    expect(await scene.logged("fetched")).toMatchObject({ level: "info", wal: NAME });
    expect(await scene.metric('walarc_fetch_total{cluster="main",outcome="served"}')).toBe(1);
    expect(scene.archive.openObjects).toBe(0);
  });

  test("by HEAD has the same headers and no body", async () => {
    await using scene = await sceneWithFile();
    for (const headers of [{}, { "accept-encoding": "zstd" }]) {
      const got = await scene.ask({ path: PATH, headers });
      const head = await scene.ask({ method: "HEAD", path: PATH, headers });
      for (const answer of [got, head]) delete answer.headers.date;
      expect(head).toEqual({ ...got, body: Buffer.alloc(0) });
    }
    expect(scene.archive.openObjects).toBe(0);
  });

  test("of a file that is not there says absent, and only the curious log mentions it", async () => {
    await using scene = await sceneWithFile();
    const answer = await scene.ask({ path: "/v1/clusters/main/wal/00000002.history" });
    expect([answer.status, problemOf(answer).code]).toEqual([404, "absent"]);
    expect(await scene.logged("fetch refused")).toMatchObject({ level: "debug", code: "absent" });
    expect(await scene.metric('walarc_fetch_total{cluster="main",outcome="absent"}')).toBe(1);
    const head = await scene.ask({
      method: "HEAD",
      path: "/v1/clusters/main/wal/00000002.history",
    });
    expect([head.status, head.body.length]).toEqual([404, 0]);
  });

  test("of an unknown cluster never says absent", async () => {
    await using scene = await sceneWithFile();
    const answer = await scene.ask({ path: `/v1/clusters/mian/wal/${NAME}` });
    expect([answer.status, problemOf(answer).code]).toEqual([404, "unknown-cluster"]);
    expect(await scene.metrics.exposition()).not.toContain("mian");
  });

  test("for another system identifier is rejected, and a malformed one is usage", async () => {
    await using scene = await sceneWithFile();
    for (const [identifier, status, code] of [
      ["666", 422, "rejected"],
      ["x", 400, "usage"],
      ["1", 200, undefined],
    ] as const) {
      const headers = { "walarc-system-identifier": identifier };
      const answer = await scene.ask({ path: PATH, headers });
      expect(answer.status).toBe(status);
      if (code !== undefined) expect(problemOf(answer).code).toBe(code);
    }
  });

  test.each([
    ["gap", 410, "warn"],
    ["corrupt", 500, "error"],
    ["store-failed", 503, "warn"],
  ] as const)("that meets %s is answered with %i", async (code, status, level) => {
    await using scene = await sceneWithFile();
    scene.archive.beforeFetch = async () => {
      throw new WalarcError(code, "for a reason");
    };
    const answer = await scene.ask({ path: PATH });
    expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
    const outcome = code === "store-failed" ? "failed" : code;
    expect(await scene.metric(`walarc_fetch_total{cluster="main",outcome="${outcome}"}`)).toBe(1);
    const line = await scene.logged(status < 500 ? "fetch refused" : "fetch failed");
    expect(line).toMatchObject({ level, code, wal: NAME, cluster: "main" });
  });

  test("whose client reads nothing is ended, and the object let go", async () => {
    await using scene = await sceneWithFile({ limits: { stallMs: 300 } });
    scene.archive.files.get("main")?.set(NAME, Buffer.alloc(64 * 1024 * 1024));
    using wire = await scene.wire();
    wire.socket.pause();
    await wire.say(`GET ${PATH} HTTP/1.1\r\nhost: x\r\n\r\n`);
    expect(await scene.logged("fetch failed")).toMatchObject({ code: "unreachable" });
    expect(scene.archive.openObjects).toBe(0);
    expect(await scene.metric('walarc_fetch_total{cluster="main",outcome="failed"}')).toBe(1);
  });

  test("whose client leaves is ended, and the object let go", async () => {
    await using scene = await sceneWithFile();
    scene.archive.files.get("main")?.set(NAME, Buffer.alloc(64 * 1024 * 1024));
    using wire = await scene.wire();
    wire.socket.pause();
    await wire.say(`GET ${PATH} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await eventually("the object is open", () => scene.archive.openObjects === 1);
    wire.socket.destroy();
    await scene.logged("fetch aborted");
    expect(scene.archive.openObjects).toBe(0);
  });

  test("that the store does not answer ends at the deadline, and lets a late object go", async () => {
    await using scene = await sceneWithFile({ limits: { fetchDeadlineMs: 300 } });
    const late = Promise.withResolvers<void>();
    scene.archive.beforeFetch = () => late.promise;
    const answer = await scene.ask({ path: PATH });
    expect([answer.status, problemOf(answer).code]).toEqual([503, "store-failed"]);
    late.resolve();
    await eventually("the late object came", () => scene.archive.openedObjects === 1);
    await eventually("the late object is let go", () => scene.archive.openObjects === 0);
  });
});

describe("a listing", () => {
  test("comes in pages", async () => {
    await using scene = await sceneWithFile();
    const names = ["00000002.history", NAME, `${NAME}.partial`].sort();
    for (const name of names) scene.archive.files.get("main")?.set(name, BYTES);
    const first = await scene.ask({ path: "/v1/clusters/main/wal?limit=2" });
    expect(first.status).toBe(200);
    const page = JSON.parse(first.body.toString()) as { files: { name: string }[]; next: string };
    expect(page.files.map(({ name }) => name)).toEqual(names.slice(0, 2));
    expect(page.next).toBe(names[1]);
    const last = await scene.ask({ path: `/v1/clusters/main/wal?after=${page.next}` });
    expect(JSON.parse(last.body.toString())).toMatchObject({
      files: [{ name: names[2] }],
      next: null,
    });
  });

  test.each([
    "limit=0",
    "limit=1001",
    "limit=-1",
    "limit=1e2",
    "limit=",
    "limit=1&limit=2",
    "after=",
    "after=../../x",
    `after=${NAME}&after=${NAME}`,
    `after=${NAME.toLowerCase()}`,
    "before=1",
  ])("with ?%s is a usage error", async (query) => {
    await using scene = await sceneWithFile();
    const answer = await scene.ask({ path: `/v1/clusters/main/wal?${query}` });
    expect([answer.status, problemOf(answer).code]).toEqual([400, "usage"]);
  });

  test("of a cluster that is not there is unknown-cluster", async () => {
    await using scene = await sceneWithFile();
    const answer = await scene.ask({ path: "/v1/clusters/other/wal" });
    expect([answer.status, problemOf(answer).code]).toEqual([404, "unknown-cluster"]);
  });
});
