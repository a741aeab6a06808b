import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, statfs, utimes } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES, STOP_STATUS } from "../../src/errors.ts";
import { ClientScene, type DataDirectory, filesOf, RUNTIMES } from "../support/client-scene.ts";
import { requireCommand } from "../support/child.ts";
import { eventually } from "../support/eventually.ts";
import { fileAnswer, problem, says } from "../support/faults.ts";
import type { Fault } from "../support/fault-server.ts";
import { describeFaults, loopLength } from "../support/fault-tools.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 9, segmentSizeBytes: 4 * MIB });
const SERVED = fileAnswer(SEGMENT.bytes);

let scene: ClientScene;

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("a fetch that is ended by", () => {
    test.each(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const)(
      "%s dies by it, which PostgreSQL reads as a shutdown, and leaves nothing behind",
      async (signal) => {
        const directory = await scene.makeDataDirectory("recovery");
        await using server = await scene.serve(stopsAt(MIB));
        const child = start(server.url, directory);
        await eventually("the temporary file", async () => (await filesOf(directory)).length === 1);
        child.kill(signal);
        expect(await once(child, "exit")).toEqual([null, signal]);
        expect(await filesOf(directory)).toEqual([]);
      },
    );

    test("SIGTERM before any answer dies by it, too", async () => {
      const directory = await scene.makeDataDirectory("recovery");
      await using server = await scene.serve({ moment: "received", script: () => {} });
      const child = start(server.url, directory);
      await eventually("the request", () => server.requests.length === 1);
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
    });

    test("SIGKILL at any moment leaves the whole file or none; the next call sweeps", async () => {
      const directory = await scene.makeDataDirectory("recovery");
      const counts = { whole: 0, none: 0, leftovers: 0 };
      for (let round = 0; round < loopLength("WALARC_KILLS", 25); round += 1) {
        await using server = await scene.serve(inPieces(SERVED, 20));
        const child = start(server.url, directory);
        const exit = once(child, "exit"); // It may well be through before we kill it.
        await eventually("the request", () => server.requests.length === 1, { intervalMs: 1 });
        await delay(Math.random() * 40);
        child.kill("SIGKILL");
        await exit;

        const files = await filesOf(directory);
        const leftovers = files.filter((name) => name.startsWith(".walarc-fetch."));
        expect(leftovers.length).toBeLessThanOrEqual(1);
        counts.leftovers += leftovers.length;
        if (files.includes("RECOVERYXLOG")) {
          await expectWhole(directory);
          counts.whole += 1;
        } else counts.none += 1;

        server.fault = says(problem(404, "absent"));
        expect(await fetchFrom(server.url, directory)).toMatchObject({ status: 1 });
        expect(await filesOf(directory)).toEqual(files.filter((name) => !leftovers.includes(name)));
      }
      expect(counts.leftovers, "kills that hit an unfinished file").toBeGreaterThan(0);
    });
  });

  describe("the sweep", () => {
    test("spares what is not ours, what is being written, and what has no pid", async () => {
      const directory = await scene.makeDataDirectory("standby");
      const pgWal = join(directory.path, "pg_wal");
      const running = `.walarc-fetch.${process.pid}.0123456789ab`;
      const names = ["RECOVERYXLOG", ".walarc-fetch", ".walarc-fetch.x.0123456789ab", running];
      for (const name of names) await scene.workspace.writeFile(join(pgWal, name), "x");
      await using server = await scene.serve(says(problem(404, "absent")));
      await fetchFrom(server.url, directory);
      expect(await filesOf(directory)).toEqual([...names].sort());

      // Its number lives on in another process, but no fetch runs for two hours.
      await utimes(join(pgWal, running), new Date(), new Date(Date.now() - 7_200_000));
      await fetchFrom(server.url, directory);
      expect(await filesOf(directory)).not.toContain(running);
    });
  });

  describeFaults("a full disk under the destination", { needs: ["root"] }, () => {
    test.each([
      ["recovery", STOP_STATUS],
      ["standby", FAILURES.local.exit],
    ] as const)("in %s", async (setting, status) => {
      const directory = await scene.makeDataDirectory(setting);
      const pgWal = join(directory.path, "pg_wal");
      const root = { account: { name: "root", uid: 0, gid: 0 }, cwd: "/", env: process.env };
      await requireCommand("mount", ["-t", "tmpfs", "-o", "size=1m,mode=777", "none", pgWal], root);
      try {
        await using server = await scene.serve(says(SERVED));
        const outcome = await fetchFrom(server.url, directory);
        expect(outcome).toMatchObject({ status });
        expect(outcome.stderr).toMatch(/^walarc: fetch [0-9A-F]{24}: local: [^\n]*ENOSPC/);
        expect(await filesOf(directory)).toEqual([]);
        const space = await statfs(pgWal);
        expect(space.bfree).toBe(space.blocks);
      } finally {
        await requireCommand("umount", [pgWal], root);
      }
    });
  });
});

function start(url: string, { path, destination }: DataDirectory) {
  const { uid, gid } = scene.workspace.account;
  const identity = process.getuid?.() === 0 ? { uid, gid } : {};
  const args = ["fetch", "--server", url, SEGMENT.name, destination];
  const { walarc, env } = scene.installation;
  return spawn(walarc, args, { cwd: path, env, stdio: "ignore", ...identity });
}

async function fetchFrom(url: string, { path, destination }: DataDirectory) {
  const args = ["fetch", "--server", url, SEGMENT.name, destination];
  return await scene.run(args, { cwd: path });
}

async function expectWhole({ path, destination }: DataDirectory): Promise<void> {
  expect((await readFile(join(path, destination))).equals(SEGMENT.bytes)).toBe(true);
}

/** Sends so many bytes of a good answer, and then nothing. */
function stopsAt(bytes: number): Fault {
  return { moment: "received", script: (socket) => void socket.write(SERVED.subarray(0, bytes)) };
}

function inPieces(bytes: Buffer, count: number): Fault {
  const size = Math.ceil(bytes.length / count);
  return {
    moment: "received",
    script: async (socket) => {
      for (let at = 0; at < bytes.length && socket.writable; at += size) {
        socket.write(bytes.subarray(at, at + size));
        await delay(1);
      }
      socket.end();
    },
  };
}
