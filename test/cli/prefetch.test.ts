import { copyFile, rename, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { STOP_STATUS } from "../../src/errors.ts";
import { runCommand } from "../support/child.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { eventually } from "../support/eventually.ts";
import { answer, fileAnswer, says, sha256Of } from "../support/faults.ts";
import {
  isRunning,
  RecoveringServer,
  segment,
  SUCCESSION,
  SmallArchive,
} from "../support/recovering-server.ts";

const [ONE, TWO, THREE] = SUCCESSION;
const OTHER_CLUSTER = "7312345678901234999";

let scene: ClientScene;

describe.each(RUNTIMES)("%s: a fetch for a recovery", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  test("finds the next segment there, without asking the archive again", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    expect(await server.fetch(ONE, archive.url)).toMatchObject({ status: 0, stderr: "" });
    for (const next of [TWO, THREE]) {
      await server.stocked(next);
      const silent = { status: 0, signal: null, stdout: "", stderr: "" };
      expect(await server.fetch(next, archive.url)).toEqual(silent);
      expect(sha256Of(await server.delivered())).toBe(sha256Of(next.bytes));
      expect(archive.requestsFor(next)).toBe(1);
    }
  });

  test("waits for a segment that is under way rather than ask a second time", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    let finish = (): void => {};
    archive.faults.set(TWO.name, {
      moment: "received",
      script: (socket) => {
        const bytes = fileAnswer(TWO.bytes);
        if (archive.requestsFor(TWO) > 1) return void socket.end(bytes);
        socket.write(bytes.subarray(0, 500_000));
        finish = () => void socket.end(bytes.subarray(500_000));
      },
    });
    await server.fetch(ONE, archive.url);
    await eventually("it is under way", () => server.stock().includes(`${TWO.name}.part`));
    const outcome = server.fetch(TWO, archive.url);
    void setTimeout(200).then(() => finish()); // after the call has looked for it
    expect(await outcome).toMatchObject({ status: 0, stderr: "" });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
    expect(archive.requestsFor(TWO)).toBe(1);
  });

  test("waits for a frame as long as something of it comes", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    const frame = zstdCompressSync(TWO.bytes);
    const told = { "Walarc-Sha256": sha256Of(TWO.bytes), "Content-Encoding": "zstd" };
    const bytes = answer(200, told, frame);
    archive.faults.set(TWO.name, {
      moment: "received",
      script: async (socket) => {
        const pieceBytes = Math.ceil(bytes.length / 6);
        for (let at = 0; at < bytes.length; at += pieceBytes) {
          socket.write(bytes.subarray(at, at + pieceBytes));
          await setTimeout(700); // All in all for longer than nothing may move.
        }
        socket.end();
      },
    });
    await server.fetch(ONE, archive.url);
    await eventually("it is under way", () => server.stock().includes(`${TWO.name}.part`));
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0, stderr: "" });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
    expect(archive.requestsFor(TWO)).toBe(1);
  });

  test("asks itself when what is under way stands still", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    archive.faults.set(TWO.name, {
      moment: "received",
      script: (socket) => void socket.write(fileAnswer(TWO.bytes).subarray(0, 500_000)),
    });
    await server.fetch(ONE, archive.url);
    await eventually("it is under way", () => server.stock().includes(`${TWO.name}.part`));
    archive.faults.delete(TWO.name);
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0 });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
    expect(archive.requestsFor(TWO)).toBe(2);
  });

  test("that was absent ahead of time asks again, and finds what has come since", async () => {
    await using archive = await SmallArchive.of(scene, [ONE]);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    await eventually("it was asked for", () => archive.requestsFor(TWO) > 0);
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 1, stderr: "" });
    archive.add(TWO);
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0 });
  });

  test("is not served what did not verify ahead of time", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    const lie = answer(200, { "Walarc-Sha256": sha256Of(ONE.bytes) }, TWO.bytes);
    archive.faults.set(TWO.name, says(lie));
    await server.fetch(ONE, archive.url);
    await eventually("it was asked for", () => archive.requestsFor(TWO) > 0);
    expect(await server.fetch(TWO, archive.url, { flags: ["--timeout", "1"] })).toMatchObject({
      status: STOP_STATUS,
      stderr: expect.stringContaining(`walarc: fetch ${TWO.name}: corrupt: `) as string,
    });
  });

  describe("is served nothing that was fetched", () => {
    const strange = segment(6, { systemIdentifier: OTHER_CLUSTER });

    test.each<
      [string, (server: RecoveringServer) => Promise<readonly string[]> | readonly string[]]
    >([
      ["for another cluster", () => ["--cluster", "other"]],
      [
        "with another token",
        async () => {
          const path = `${scene.newPath()}.token`;
          return ["--token-file", await scene.workspace.writeFile(path, "walarc_other")];
        },
      ],
      [
        "for the database that stood here before",
        async (server) => {
          await server.become(OTHER_CLUSTER);
          return [];
        },
      ],
      ["from another archive", () => []],
    ])("%s", async (title, change) => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using other = await SmallArchive.of(scene, [strange]);
      await using server = await RecoveringServer.start(scene);
      await server.fetch(ONE, archive.url);
      await server.stocked(TWO);
      const flags = await change(server);
      archive.add(strange);
      const source = title === "from another archive" ? other : archive;
      expect(await server.fetch(strange, source.url, { flags })).toMatchObject({ status: 0 });
      expect(sha256Of(await server.delivered())).toBe(sha256Of(strange.bytes));
    });

    test("before the machine went down: nobody knows what of it reached the disk", async () => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      await server.fetch(ONE, archive.url);
      await server.stocked(TWO);
      await rm(server.socketPath(), { force: true }); // Of another boot nobody is there.
      const boot = `${scene.newPath()}.boot`;
      await scene.workspace.writeFile(boot, "00000000-0000-4000-8000-000000000000\n");
      const { uid, gid } = scene.workspace.account;
      const script = `mount --bind ${boot} /proc/sys/kernel/random/boot_id || exit 99
        exec setpriv --reuid=${uid} --regid=${gid} --clear-groups "$@"`;
      const fetch = ["fetch", "--server", archive.url, TWO.name, server.destination];
      const command = ["sh", "-c", script, "sh", scene.installation.walarc, ...fetch];
      const { env } = scene.installation;
      const root = { ...scene.workspace.account, uid: 0, gid: 0 };
      const options = { account: root, cwd: server.path, env };
      expect(await runCommand("unshare", ["--mount", ...command], options)).toMatchObject({
        status: 0,
        stderr: "",
      });
      expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
      // By the first prefetcher and by the call itself; a prefetcher may have asked once more.
      expect(archive.requestsFor(TWO)).toBeGreaterThan(1);
    });

    test("in another data directory, from which its pg_wal was copied", async () => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      await using copy = await RecoveringServer.start(scene);
      await server.fetch(ONE, archive.url);
      await server.stocked(TWO);
      await copy.remove("pg_wal");
      await rename(join(server.path, "pg_wal"), join(copy.path, "pg_wal"));
      expect(copy.stock()).toContain(TWO.name);
      expect(await copy.fetch(TWO, archive.url)).toMatchObject({ status: 0 });
      expect(archive.requestsFor(TWO)).toBe(2);
    });
  });

  test.each<[string, (path: string, server: RecoveringServer) => Promise<void>]>([
    ["cut short", (path) => truncate(path, 500_000)],
    ["emptied", (path) => truncate(path, 0)],
    [
      "exchanged for its neighbour",
      (path, server) => {
        return copyFile(server.stockPath(THREE.name), path);
      },
    ],
  ])("fetches anew what was %s in stock", async (_title, harm) => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    await server.stocked(TWO);
    await server.stocked(THREE);
    await harm(server.stockPath(TWO.name), server);
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0, stderr: "" });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
  });

  test("goes on when the prefetcher was killed, sweeps what it left, and starts another", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    archive.faults.set(TWO.name, {
      moment: "received",
      script: (socket) => void socket.write(fileAnswer(TWO.bytes).subarray(0, 500_000)),
    });
    await server.fetch(ONE, archive.url);
    await eventually("it is under way", () => server.stock().includes(`${TWO.name}.part`));
    const killed = await server.prefetcher();
    process.kill(killed, "SIGKILL");
    await eventually("it is gone", () => !isRunning(killed));
    archive.faults.delete(TWO.name);
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0, stderr: "" });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
    await server.stocked(THREE);
    expect(server.stock()).not.toContain(`${TWO.name}.part`);
  });

  test("sweeps what a killed prefetcher left also when there is nothing more to fetch", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    await server.stocked(THREE);
    const killed = await server.prefetcher();
    process.kill(killed, "SIGKILL");
    await eventually("it is gone", () => !isRunning(killed));
    expect(await server.fetch(segment(99), archive.url)).toMatchObject({ status: 1 });
    expect(server.hasStock()).toBe(false);
  });
});
