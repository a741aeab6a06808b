import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { zstdCompressSync } from "node:zlib";
import { WalarcError } from "../../src/errors.ts";
import { runCommand } from "../support/child.ts";
import { HttpScene, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";
import { Workspace } from "../support/workspace.ts";

const NAME = "000000010000000A000000FF";
const PATH = `/v1/clusters/main/wal/${NAME}`;
const BODY = Buffer.from("a WAL file, as far as HTTP is concerned");
const SHA256 = digestOf(BODY);
const PUT = { method: "PUT", path: PATH, body: BODY };

describe("a push", () => {
  test("is answered with 201, then 200, and carries its digest both times", async () => {
    await using scene = await HttpScene.open();
    const first = await scene.ask(PUT);
    expect(first.status).toBe(201);
    expect(first.headers["walarc-sha256"]).toBe(SHA256);
    expect(JSON.parse(first.body.toString())).toEqual({
      outcome: "archived",
      name: NAME,
      sha256: SHA256,
      sizeBytes: BODY.length,
    });
    const second = await scene.ask({ ...PUT, over: "unix" });
    expect(second.status).toBe(200);
    expect(second.headers["walarc-sha256"]).toBe(SHA256);
    expect(JSON.parse(second.body.toString())).toMatchObject({ outcome: "already-archived" });
    expect(await scene.logged("pushed")).toMatchObject({
      level: "info",
      wal: NAME,
      cluster: "main",
      outcome: "archived",
      sizeBytes: BODY.length,
    });
  });

  test("of a frame is answered with the digest of what came as well, both times", async () => {
    await using scene = await HttpScene.open();
    const plain = Buffer.concat([randomBytes(1024 * 1024), Buffer.alloc(1024 * 1024)]);
    const body = zstdCompressSync(plain);
    const headers = { "content-encoding": "zstd" };
    for (const status of [201, 200]) {
      const answer = await scene.ask({ ...PUT, body, headers });
      expect(answer.status).toBe(status);
      expect(answer.headers["walarc-sha256"]).toBe(digestOf(plain));
      expect(answer.headers["walarc-frame-sha256"]).toBe(digestOf(body));
    }
    expect(scene.archive.files.get("main")?.get(NAME)).toEqual(plain);
    const asItIs = await scene.ask({ ...PUT, body: plain });
    expect(asItIs.headers["walarc-frame-sha256"]).toBeUndefined();
  });

  test("of other content is a conflict, and changes nothing", async () => {
    await using scene = await HttpScene.open();
    await scene.ask(PUT);
    const answer = await scene.ask({ ...PUT, body: Buffer.from("something else") });
    expect([answer.status, problemOf(answer).code]).toEqual([409, "conflict"]);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(answer.headers["walarc-sha256"]).toBeUndefined();
    expect(scene.archive.files.get("main")?.get(NAME)).toEqual(BODY);
  });

  test("of a partial that is kept aside is a success, and counted as a conflict", async () => {
    await using scene = await HttpScene.open();
    const path = `${PATH}.partial`;
    await scene.ask({ ...PUT, path });
    const answer = await scene.ask({ ...PUT, path, body: Buffer.from("of another server") });
    expect(answer.status).toBe(200);
    expect(answer.headers["walarc-sha256"]).toBe(digestOf(Buffer.from("of another server")));
    expect(await scene.metric('walarc_push_total{cluster="main",outcome="conflict"}')).toBe(1);
  });

  test.each([
    [{ "content-type": "application/json" }, 201],
    [{ "content-type": "no type at all;;;" }, 201],
    [{ "content-type": "" }, 201],
    [{ "walarc-sha256": SHA256 }, 201],
    [{ "walarc-sha256": SHA256.toUpperCase() }, 201],
    [{ "walarc-system-identifier": "18446744073709551615" }, 201],
    [{ "content-encoding": "identity" }, 201],
    [{ "walarc-sha256": SHA256.slice(1) }, 400, "usage"],
    [{ "walarc-sha256": "" }, 400, "usage"],
    [{ "walarc-sha256": [SHA256, SHA256] }, 400, "usage"],
    [{ "walarc-sha256": digestOf(Buffer.from("x")) }, 422, "rejected"],
    [{ "walarc-system-identifier": "18446744073709551616" }, 400, "usage"],
    [{ "walarc-system-identifier": "-1" }, 400, "usage"],
    [{ "walarc-system-identifier": "0x10" }, 400, "usage"],
    [{ "walarc-system-identifier": "" }, 400, "usage"],
    [{ "walarc-system-identifier": "666" }, 422, "rejected"],
    [{ "content-encoding": "gzip" }, 415, "rejected"],
    [{ "content-encoding": "zstd, zstd" }, 415, "rejected"],
    [{ "content-range": "bytes 0-38/100" }, 400, "usage"],
  ])("with %j is answered with %i", async (headers, status, code?: string) => {
    await using scene = await HttpScene.open();
    const answer = await scene.ask({ ...PUT, headers });
    expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
    expect(scene.archive.files.get("main")?.size).toBe(status === 201 ? 1 : 0);
  });

  test.each([
    ["store-failed", undefined, 503, "failed"],
    ["store-failed", 507, 507, "failed"],
    ["rejected", 413, 413, "rejected"],
    ["unknown-cluster", undefined, 404, "failed"],
  ] as const)("that fails as %s (%s) is answered with %i", async (code, asked, status, outcome) => {
    await using scene = await HttpScene.open();
    scene.archive.beforePush = async () => {
      const options = asked === undefined ? {} : { status: asked };
      throw new WalarcError(code, "for a reason", { hint: "look there", ...options });
    };
    const answer = await scene.ask(PUT);
    expect(answer.status).toBe(status);
    expect(problemOf(answer)).toEqual({ status, code, detail: "for a reason", hint: "look there" });
    expect(await scene.metric(`walarc_push_total{cluster="main",outcome="${outcome}"}`)).toBe(1);
  });

  test("that meets a bug tells the client nothing of it, and the log everything", async () => {
    await using scene = await HttpScene.open();
    scene.archive.beforePush = async () => {
      throw new TypeError("cannot read the secret sauce");
    };
    const answer = await scene.ask(PUT);
    expect([answer.status, problemOf(answer).code]).toEqual([500, "bug"]);
    expect(answer.body.toString()).not.toContain("sauce");
    const line = await scene.logged("push failed");
    expect(line).toMatchObject({ level: "error", code: "bug" });
    expect(JSON.stringify(line["err"])).toContain("secret sauce");
    expect(scene.logLines.filter((found) => found["level"] !== "debug")).toHaveLength(1);
  });

  test("to a cluster that nobody has heard of makes no metric, unless it succeeds", async () => {
    await using scene = await HttpScene.open();
    const path = `/v1/clusters/made-up/wal/${NAME}`;
    await scene.ask({ ...PUT, path, headers: { "walarc-sha256": "no" } });
    expect(await scene.metrics.exposition()).not.toContain("made-up");
    expect((await scene.ask({ ...PUT, path })).status).toBe(201);
    expect(await scene.metric('walarc_push_total{cluster="made-up",outcome="archived"}')).toBe(1);
  });

  test("counts the bytes that came over the wire", async () => {
    await using scene = await HttpScene.open();
    const body = zstdCompressSync(Buffer.alloc(100_000, "wal"));
    await scene.ask({ ...PUT, body, headers: { "content-encoding": "zstd" } });
    expect(await scene.metric('walarc_received_bytes_total{cluster="main"}')).toBe(body.length);
    expect(await scene.metric('walarc_push_duration_seconds_count{cluster="main"}')).toBe(1);
  });

  test("counts the bytes that were stored for it, once", async () => {
    await using scene = await HttpScene.open();
    await scene.ask(PUT);
    await scene.ask(PUT);
    expect(await scene.metric('walarc_stored_bytes_total{cluster="main"}')).toBe(BODY.length);
  });
});

describe("a compressed push", () => {
  const plain = Buffer.concat([randomBytes(300_000), Buffer.alloc(700_000, "page")]);
  const frame = zstdCompressSync(plain);
  const headers = { "content-encoding": "zstd" };

  test("archives the plain bytes", async () => {
    await using scene = await HttpScene.open();
    const answer = await scene.ask({ ...PUT, body: frame, headers });
    expect(answer.status).toBe(201);
    expect(answer.headers["walarc-sha256"]).toBe(digestOf(plain));
    expect(scene.archive.files.get("main")?.get(NAME)).toEqual(plain);
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["plain bytes", plain],
    ["a frame cut short", frame.subarray(0, -1)],
    ["half a frame", frame.subarray(0, frame.length / 2)],
    ["two frames", Buffer.concat([frame, frame])],
    ["garbage after the frame", Buffer.concat([frame, Buffer.from("x")])],
    ["much garbage after the frame", Buffer.concat([frame, randomBytes(200_000)])],
  ])("of %s is rejected, and nothing is archived", async (_what, body) => {
    await using scene = await HttpScene.open();
    const answer = await scene.ask({ ...PUT, body, headers });
    expect([answer.status, problemOf(answer).code]).toEqual([422, "rejected"]);
    expect(scene.archive.files.get("main")?.size).toBe(0);
  });
});

describe("curl", () => {
  test("pushes with nothing but --fail -T, from a file and from a pipe, and fetches", async () => {
    await using scene = await HttpScene.open();
    await using workspace = await Workspace.create();
    const bytes = randomBytes(3_000_000);
    const file = await workspace.writeFile(workspace.path(NAME), bytes);
    // The socket is for its owner and group.
    const account = { name: "own", uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };
    const surroundings = { account, cwd: workspace.directory, env: {} };
    const socket = ["-sS", "--fail", "--unix-socket", scene.socketPath];
    const url = "http://walarc/v1/clusters/main/wal";
    const curl = (...args: string[]) =>
      runCommand("/bin/sh", ["-c", 'curl "$@"', "curl", ...args], surroundings);

    const directory = await curl(...socket, "-T", file, `${url}/`);
    expect(directory).toMatchObject({ status: 0 });
    const pipe = await runCommand(
      "/bin/sh",
      ["-c", `cat ${file} | curl "$@"`, "curl", ...socket, "-T", "-", `${url}/${NAME}`],
      surroundings,
    );
    expect(pipe).toMatchObject({ status: 0 });
    expect(JSON.parse(pipe.stdout)).toMatchObject({ outcome: "already-archived" });
    expect(scene.archive.files.get("main")?.get(NAME)).toEqual(bytes);

    const tcp = `http://127.0.0.1:${scene.port}/v1/clusters/main/wal/${NAME}`;
    for (const more of [[], ["--compressed"]]) {
      const target = workspace.path(`fetched${more.length}`);
      expect(await curl("-sS", "-f", ...more, "-o", target, tcp)).toMatchObject({ status: 0 });
      expect((await curl("-sS", "-f", "-T", target, tcp)).stdout).toContain("already-archived");
    }
    const conflict = await curl(...socket, "-T", "/etc/passwd", `${url}/${NAME}`);
    expect(conflict.status).toBe(22);
  });
});
