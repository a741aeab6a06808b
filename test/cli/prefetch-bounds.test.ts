import { readdirSync, readFileSync, readlinkSync, statfsSync } from "node:fs";
import { chown, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { STOP_STATUS } from "../../src/errors.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { eventually } from "../support/eventually.ts";
import { sha256Of, SILENCE } from "../support/faults.ts";
import {
  isRunning,
  RecoveringServer,
  SUCCESSION,
  SmallArchive,
} from "../support/recovering-server.ts";
import { TmpfsMount } from "../support/tmpfs-mount.ts";
import { type MadeFile, MIB } from "../support/wal-maker.ts";

const [ONE, TWO, THREE] = SUCCESSION;
const NOWHERE = "unix:/nowhere/at/all";

type More = Parameters<RecoveringServer["fetch"]>[2];

let scene: ClientScene;

describe.each(RUNTIMES)("%s: fetching ahead", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  test("never has more in stock than the limit", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    const flags = ["--prefetch", "3MB"];
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, server.stock().length)), 1);
    for (const next of SUCCESSION.slice(0, 9)) await server.fetch(next, archive.url, { flags });
    clearInterval(watch);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3);
  });

  test("leaves a tenth of the file system alone, and harms no fetch for want of room", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using mount = await TmpfsMount.create("size=10m");
    await using server = await RecoveringServer.start(scene);
    await server.remove("pg_wal");
    await symlink(mount.path, join(server.path, "pg_wal"));
    const { uid, gid } = scene.workspace.account;
    await chown(mount.path, uid, gid);
    await writeFile(join(mount.path, "ballast"), Buffer.alloc(5.8 * MIB));

    // Of the 4.2 MB left one is delivered, and one is the tenth.
    expect(await server.fetch(ONE, archive.url)).toMatchObject({ status: 0, stderr: "" });
    await server.stocked(THREE);
    await writeFile(join(mount.path, "more"), Buffer.alloc(0.8 * MIB));
    await eventually("it has made room", () => {
      const { bavail, blocks } = statfsSync(mount.path);
      return bavail >= blocks / 10;
    });
    expect(await server.fetch(TWO, archive.url)).toMatchObject({ status: 0, stderr: "" });
    expect(sha256Of(await server.delivered())).toBe(sha256Of(TWO.bytes));
  });

  describe("has no stock", () => {
    test.each<[string, (server: RecoveringServer) => Promise<More | void>]>([
      ["with --prefetch 0", async () => ({ flags: ["--prefetch", "0"] })],
      ["with WALARC_PREFETCH=0", async () => ({ env: { WALARC_PREFETCH: "0" } })],
      [
        "with prefetch = 0 in the file",
        async () => {
          const path = `${scene.newPath()}.toml`;
          await scene.workspace.writeFile(path, "[client]\nprefetch = 0\n");
          return { env: { WALARC_CONFIG: path } };
        },
      ],
      ["with a limit below one segment", async () => ({ flags: ["--prefetch", "512kB"] })],
      ["where no server runs", (server) => server.remove("postmaster.pid")],
      [
        "where the server is the first process, which inherits orphans",
        async (server) => {
          await server.write("postmaster.pid", "1\n");
          return {};
        },
      ],
      ["where nothing is recovered", (server) => server.remove("recovery.signal")],
      ["where the database is not known", (server) => server.remove("global")],
    ])("%s", async (_title, change) => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      const more = (await change(server)) ?? {};
      for (const next of [ONE, TWO, THREE]) {
        expect(await server.fetch(next, archive.url, more)).toMatchObject({ status: 0 });
        expect(archive.requestsFor(next)).toBe(1);
      }
      expect(archive.requestsFor(SUCCESSION[3] as MadeFile)).toBe(0);
    });

    test("on a standby that gets a segment now and then", async () => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene, "standby");
      await server.fetch(ONE, archive.url);
      expect(server.hasStock()).toBe(false);
      // It has been given the one before just now: it is catching up.
      await rename(join(server.path, server.destination), join(server.path, "pg_wal", ONE.name));
      await server.fetch(TWO, archive.url);
      await server.stocked(THREE);
    });

    test("for pg_rewind and for people, who name another destination", async () => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      const args = ["fetch", "--server", archive.url, ONE.name, `pg_wal/${ONE.name}`];
      expect(await scene.run(args, { cwd: server.path })).toMatchObject({ status: 0 });
      expect(readdirSync(join(server.path, "pg_wal"))).toEqual([ONE.name]);
    });
  });

  test("refuses a limit that is no size", async () => {
    await using server = await RecoveringServer.start(scene);
    expect(await server.fetch(ONE, NOWHERE, { flags: ["--prefetch", "much"] })).toMatchObject({
      status: STOP_STATUS,
      stderr: expect.stringContaining('usage: --prefetch "much" is not a size') as string,
    });
  });

  describe("leaves nothing behind", () => {
    test.each<[string, (server: RecoveringServer, prefetcher: number) => Promise<void> | void]>([
      ["when the server ends", (server) => server.end()],
      ["when the server is promoted", (server) => server.remove("recovery.signal")],
      ["when the prefetcher is told to stop", (_, prefetcher) => void process.kill(prefetcher)],
      ["when the stock is removed", (server) => server.remove("pg_wal/pgsql_tmp.walarc")],
    ])("%s", async (_title, end) => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      await server.fetch(ONE, archive.url);
      await server.stocked(TWO);
      const prefetcher = await server.prefetcher();
      await end(server, prefetcher);
      await eventually("the prefetcher is gone", () => !isRunning(prefetcher));
      expect(readdirSync(join(server.path, "pg_wal"))).toEqual(["RECOVERYXLOG"]);
    });

    test("and the prefetcher ends by itself with its data directory", async () => {
      await using archive = await SmallArchive.of(scene, SUCCESSION);
      await using server = await RecoveringServer.start(scene);
      await server.fetch(ONE, archive.url);
      const prefetcher = await server.prefetcher();
      archive.faults.set(THREE.name, SILENCE);
      await server.remove("");
      await eventually("the prefetcher is gone", () => !isRunning(prefetcher));
    });
  });

  test("leaves its prefetcher in the group that PostgreSQL ends, without its open files", async () => {
    await using archive = await SmallArchive.of(scene, SUCCESSION);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    const pid = await server.prefetcher();
    const fields = (id: number | string) => {
      const stat = readFileSync(`/proc/${id}/stat`, "latin1");
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    };
    expect(fields(pid)[2]).toBe(fields("self")[2]);
    for (const standard of [0, 1, 2]) {
      expect(readlinkSync(`/proc/${pid}/fd/${standard}`)).toBe("/dev/null");
    }
  });
});
