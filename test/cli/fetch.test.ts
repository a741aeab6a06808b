import { readFile, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES, STOP_STATUS } from "../../src/errors.ts";
import {
  ClientScene,
  type DataDirectory,
  filesOf,
  SETTINGS,
  RUNTIMES,
} from "../support/client-scene.ts";
import { answer, fileAnswer, problem, says, sha256Of, SILENCE } from "../support/faults.ts";
import type { Fault } from "../support/fault-server.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 5, segmentSizeBytes: MIB });
const SERVED = says(fileAnswer(SEGMENT.bytes));
const ABSENT = says(problem(404, "absent"));
const GAP = says(problem(410, "gap"));

let scene: ClientScene;

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("walarc fetch", () => {
    test.each(SETTINGS)("delivers the file and nothing else: %s", async (setting) => {
      const directory = await scene.makeDataDirectory(setting);
      await using server = await scene.serve(SERVED);
      const outcome = await fetchFrom(server.url, directory);
      expect(outcome).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
      await expectDelivered(directory);
      expect((await stat(join(directory.path, directory.destination))).mode & 0o777).toBe(0o600);
      const lines = server.requests[0]?.head.split("\r\n");
      expect(lines?.[0]).toBe(`GET /v1/clusters/main/wal/${SEGMENT.name} HTTP/1.1`);
    });

    test.each([
      ["in chunks", chunked(SEGMENT.bytes)],
      ["of an unknown length", untilClose(SEGMENT.bytes)],
    ])("delivers a verified answer %s", async (_title, bytes) => {
      const directory = await scene.makeDataDirectory("recovery");
      await using server = await scene.serve(says(bytes));
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status: 0 });
      await expectDelivered(directory);
    });

    test("a cut answer of an unknown length is not delivered", async () => {
      const directory = await scene.makeDataDirectory("standby");
      await using server = await scene.serve(says(untilClose(SEGMENT.bytes).subarray(0, -1)));
      const outcome = await fetchFrom(server.url, directory);
      expect(outcome).toMatchObject({ status: FAILURES.corrupt.exit });
      expect(await filesOf(directory)).toEqual([]);
    });

    test("replaces what stands at the destination, but only by a whole file", async () => {
      const directory = await scene.makeDataDirectory("other");
      const path = join(directory.path, directory.destination);
      await scene.workspace.writeFile(path, "old");
      await using server = await scene.serve(says(answer(500)));
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status: 3 });
      expect(await readFile(path, "utf8")).toBe("old");
      server.fault = SERVED;
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status: 0 });
      await expectDelivered(directory);
    });

    test("absent is silent, because a standby always asks, and verbose on request", async () => {
      const directory = await scene.makeDataDirectory("standby");
      await using server = await scene.serve(ABSENT);
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status: 1, stderr: "" });
      expect(await fetchFrom(server.url, directory, ["--verbose"])).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(`^walarc: fetch ${SEGMENT.name}: absent: because`) as string,
      });
    });
  });

  describe("while the archive cannot be asked", () => {
    const weather: [string, Fault][] = [
      ["is unreachable", says(answer(502))],
      ["cannot read its store", says(problem(503, "store-failed"))],
    ];

    test.each(weather)("and %s, a recovery asks again until it can", async (_title, fault) => {
      const directory = await scene.makeDataDirectory("recovery");
      await using server = await scene.serve(fault);
      const outcome = fetchFrom(server.url, directory, ["--timeout", "30"]);
      await expect.poll(() => server.requests.length, { timeout: 20_000 }).toBeGreaterThan(2);
      server.fault = SERVED;
      expect(await outcome).toMatchObject({ status: 0, stderr: "" });
      await expectDelivered(directory);
    });

    test.each(weather)("and %s, a standby is told at once", async (_title, fault) => {
      const directory = await scene.makeDataDirectory("standby");
      await using server = await scene.serve(fault);
      const started = performance.now();
      expect((await fetchFrom(server.url, directory, ["--timeout", "30"])).status).toBeLessThan(8);
      expect(performance.now() - started).toBeLessThan(10_000);
      expect(server.requests).toHaveLength(1);
    });

    test("a recovery takes absent for an answer, and a damaged copy for a stop", async () => {
      const directory = await scene.makeDataDirectory("recovery");
      for (const [fault, status] of [
        [ABSENT, FAILURES.absent.exit],
        [says(problem(500, "corrupt")), STOP_STATUS],
        [says(problem(404, "unknown-cluster")), STOP_STATUS],
      ] as const) {
        await using server = await scene.serve(fault);
        expect(await fetchFrom(server.url, directory)).toMatchObject({ status });
        expect(server.requests).toHaveLength(1);
      }
    });

    test("the message at the deadline tells what was wrong, not only that time is up", async () => {
      const directory = await scene.makeDataDirectory("recovery");
      await using server = await scene.serve(says(problem(507, "store-failed", "no space left")));
      const outcome = await fetchFrom(server.url, directory, ["--timeout", "1"]);
      expect(outcome.status).toBe(STOP_STATUS);
      expect(outcome.stderr).toContain(
        "store-failed: no space left, tried again until the deadline",
      );
    });
  });

  describe("a gap", () => {
    test.each([
      ["that PostgreSQL fills from its own pg_wal is absent", SEGMENT.bytes, 1],
      ["beside a recycled segment under its name stays a gap", recycled(), STOP_STATUS],
      ["beside a cut copy stays a gap", SEGMENT.bytes.subarray(0, -1), STOP_STATUS],
      ["beside an empty file of its name stays a gap", Buffer.alloc(0), STOP_STATUS],
    ])("%s", async (_title, own, status) => {
      const directory = await scene.makeDataDirectory("recovery");
      await scene.workspace.writeFile(join(directory.path, "pg_wal", SEGMENT.name), own);
      await using server = await scene.serve(GAP);
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status });
    });
  });

  describe("a destination that cannot be written", () => {
    test.each<[string, (path: string) => Promise<string>]>([
      ["lies in no directory", async (path) => join(path, "missing/RECOVERYXLOG")],
      ["is a directory", async (path) => path],
      ["is a device", async () => "/dev/null"],
      ["lies in a directory of others", async () => "/proc/RECOVERYXLOG"],
    ])("and %s", async (_title, destinationIn) => {
      const { path } = await scene.makeDataDirectory("other");
      await using server = await scene.serve(SERVED);
      const args = ["fetch", "--server", server.url, SEGMENT.name, await destinationIn(path)];
      const { status, stderr } = await scene.run(args, { cwd: path });
      expect(status).toBe(args.at(-1)?.endsWith("XLOG") ? STOP_STATUS : FAILURES.local.exit);
      expect(stderr).toMatch(/^walarc: fetch [0-9A-F]{24}: local: /);
    });

    test("and is a link: nobody asked to replace what it points to", async () => {
      const directory = await scene.makeDataDirectory("other");
      const target = await scene.workspace.writeFile(join(directory.path, "precious"), "precious");
      await symlink(target, join(directory.path, directory.destination));
      await using server = await scene.serve(SERVED);
      expect(await fetchFrom(server.url, directory)).toMatchObject({ status: FAILURES.local.exit });
      expect(await readFile(target, "utf8")).toBe("precious");
    });
  });

  test("a silent server costs a standby its deadline and no more", async () => {
    const directory = await scene.makeDataDirectory("standby");
    await using server = await scene.serve(SILENCE);
    const started = performance.now();
    const outcome = await fetchFrom(server.url, directory, ["--timeout", "1"]);
    expect(outcome).toMatchObject({ status: FAILURES.unreachable.exit });
    expect(performance.now() - started).toBeLessThan(6000);
  });
});

async function fetchFrom(url: string, directory: DataDirectory, flags: readonly string[] = []) {
  const args = ["fetch", "--server", url, ...flags, SEGMENT.name, directory.destination];
  return await scene.run(args, { cwd: directory.path });
}

async function expectDelivered({ path, destination }: DataDirectory): Promise<void> {
  expect((await readFile(join(path, destination))).equals(SEGMENT.bytes)).toBe(true);
  expect(await filesOf({ path, destination })).toEqual([destination.split("/").at(-1)]);
}

function recycled(): Buffer {
  return makeSegment({ number: 4, segmentSizeBytes: MIB }).bytes;
}

function chunked(file: Buffer): Buffer {
  const head = `HTTP/1.1 200 OK\r\nWalarc-Sha256: ${sha256Of(file)}\r\n`;
  const parts: Buffer[] = [Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n`)];
  for (let at = 0, size = 1; at < file.length; at += size, size = (size * 7) % 65_537) {
    const part = file.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}

function untilClose(file: Buffer): Buffer {
  const head = `HTTP/1.1 200 OK\r\nWalarc-Sha256: ${sha256Of(file)}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), file]);
}
