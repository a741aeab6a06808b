import { existsSync, readdirSync, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { ArchivingServer, TakingArchive } from "../support/archiving-server.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { eventually } from "../support/eventually.ts";
import { isRunning, segment } from "../support/recovering-server.ts";
import { type MadeFile, makeHistory, makePartial, MIB } from "../support/wal-maker.ts";

const ALL = Array.from({ length: 8 }, (_, index) => segment(5 + index));
const [ONE, TWO, THREE, FOUR] = ALL as [MadeFile, MadeFile, MadeFile, MadeFile];
const OK = { status: 0, signal: null, stdout: "", stderr: "" };

let scene: ClientScene;

describe.each(RUNTIMES)("%s: a push with others behind it", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  test("has them archived too, and each is sent once", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const statusBefore = statusFiles(server);
    expect(await server.push(ONE, archive.url)).toEqual(OK);
    for (const next of ALL.slice(1)) {
      await server.confirmed(next);
      expect(await server.push(next, archive.url)).toEqual(OK);
      expect(archive.has(next)).toBe(true);
      expect(archive.pushesOf(next)).toBe(1);
    }
    expect(statusFiles(server)).toEqual(statusBefore);
  });

  test("believes an older archive, which names the digest of the content alone", async () => {
    await using archive = await TakingArchive.open(scene);
    archive.frameDigest = () => undefined;
    await using server = await ArchivingServer.start(scene, ALL);
    expect(await server.push(ONE, archive.url)).toEqual(OK);
    await server.confirmed(THREE);
  });

  test("takes nothing for archived of which another frame's digest is named", async () => {
    await using archive = await TakingArchive.open(scene);
    archive.frameDigest = () => "0".repeat(64);
    await using server = await ArchivingServer.start(scene, ALL);
    expect(await server.push(ONE, archive.url)).toEqual(OK);
    await eventually("one was sent", () => archive.pushesOf(TWO) > 0);
    expect(await server.push(TWO, archive.url)).toEqual(OK);
    expect(archive.pushesOf(TWO)).toBe(2);
  });

  test("is not done before the archive has confirmed the one on its way", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const hold = Promise.withResolvers<void>();
    archive.holds.set(TWO.name, hold.promise);
    expect(await server.push(ONE, archive.url)).toEqual(OK);
    await eventually("it is on its way", () => existsSync(server.ledgerPath(`${TWO.name}.part`)));
    let isDone = false;
    const outcome = server.push(TWO, archive.url).finally(() => {
      isDone = true;
    });
    await server.confirmed(FOUR); // so much later
    expect([isDone, archive.has(TWO)]).toEqual([false, false]);
    hold.resolve();
    expect(await outcome).toEqual(OK);
    expect(archive.has(TWO)).toBe(true);
    expect(archive.pushesOf(TWO)).toBe(1);
  });

  test("says at its deadline that there was no answer, as it does without look-ahead", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const hold = Promise.withResolvers<void>();
    archive.holds.set(TWO.name, hold.promise);
    await server.push(ONE, archive.url);
    await eventually("it is on its way", () => existsSync(server.ledgerPath(`${TWO.name}.part`)));
    expect(await server.push(TWO, archive.url, { flags: ["--timeout", "1"] })).toMatchObject({
      status: FAILURES.unreachable.exit,
      stderr: expect.stringContaining("unreachable: ") as string,
    });
    hold.resolve();
  });

  test("sends itself what a process that stands still has on its way", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const hold = Promise.withResolvers<void>();
    archive.holds.set(TWO.name, hold.promise);
    await server.push(ONE, archive.url);
    await eventually("it was sent", () => archive.pushesOf(TWO) > 0);
    const shipper = await server.shipper();
    process.kill(shipper, "SIGSTOP");
    hold.resolve();
    expect(await server.push(TWO, archive.url, { flags: ["--timeout", "4"] })).toEqual(OK);
    expect(archive.pushesOf(TWO)).toBe(2);
    process.kill(shipper, "SIGKILL");
  });

  test("tells of a failure itself, and sends again what failed ahead", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    archive.troubled.add(TWO.name);
    await server.push(ONE, archive.url);
    await eventually("it was tried", () => archive.pushesOf(TWO) > 0);
    await server.confirmed(THREE);
    expect(await server.push(TWO, archive.url)).toMatchObject({
      status: FAILURES["store-failed"].exit,
      stderr: expect.stringContaining(`walarc: push ${TWO.name}: store-failed: `) as string,
    });
    archive.troubled.clear();
    expect(await server.push(TWO, archive.url)).toEqual(OK);
    expect(archive.has(TWO)).toBe(true);
  });

  test("has nothing more archived behind what the archive does not take, until it does", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const eighth = ALL[7] as MadeFile;
    archive.troubled.add(TWO.name);
    const besides = Promise.withResolvers<void>();
    for (const { name } of ALL.slice(2, 7)) archive.holds.set(name, besides.promise);
    await server.push(ONE, archive.url);
    await eventually("it was tried", () => archive.pushesOf(TWO) > 0);
    const { exit } = FAILURES["store-failed"];
    expect(await server.push(TWO, archive.url)).toMatchObject({ status: exit });
    besides.resolve();
    for (const sent of ALL.slice(2, 7)) await server.confirmed(sent);
    expect(await server.push(TWO, archive.url)).toMatchObject({ status: exit });
    expect(archive.pushesOf(eighth)).toBe(0);
    archive.troubled.clear();
    expect(await server.push(TWO, archive.url)).toEqual(OK);
    expect(await server.push(THREE, archive.url)).toEqual(OK);
    await server.confirmed(eighth);
  });

  describe("believes nothing that was confirmed", () => {
    test.each<[string, (path: string) => Promise<void>]>([
      [
        "of a file that was written to since",
        async (path) => {
          await using file = await open(path, "r+");
          await file.write(Buffer.from("!"), 0, 1, 500_000);
        },
      ],
      [
        "of a file that was renamed and back, as recycling does",
        async (path) => {
          await rename(path, `${path}.other`);
          await rename(`${path}.other`, path);
        },
      ],
    ])("%s", async (title, change) => {
      await using archive = await TakingArchive.open(scene);
      await using server = await ArchivingServer.start(scene, ALL);
      await server.push(ONE, archive.url);
      await server.confirmed(TWO);
      await change(join(server.path, "pg_wal", TWO.name));
      const { status } = await server.push(TWO, archive.url);
      const isSame = title.includes("renamed");
      expect(status).toBe(isSame ? 0 : FAILURES.conflict.exit);
      expect(archive.pushesOf(TWO)).toBe(2);
    });

    test.each<[string, (server: ArchivingServer) => Promise<void>]>([
      [
        "by a process that was killed since",
        async (server) => {
          const shipper = await server.shipper();
          process.kill(shipper, "SIGKILL");
          await eventually("it is gone", () => !isRunning(shipper));
        },
      ],
      [
        "in a record that says something else",
        async (server) => {
          await scene.workspace.writeFile(server.ledgerPath(TWO.name), "1:2:3:4:5");
        },
      ],
      [
        "in an empty record",
        async (server) => {
          await scene.workspace.writeFile(server.ledgerPath(TWO.name), "");
        },
      ],
    ])("%s", async (_title, harm) => {
      await using archive = await TakingArchive.open(scene);
      await using server = await ArchivingServer.start(scene, ALL);
      await server.push(ONE, archive.url);
      await server.confirmed(TWO);
      await harm(server);
      expect(await server.push(TWO, archive.url)).toEqual(OK);
      expect(archive.pushesOf(TWO)).toBe(2);
    });

    test("by another archive, or for another cluster", async () => {
      await using archive = await TakingArchive.open(scene);
      await using other = await TakingArchive.open(scene);
      await using server = await ArchivingServer.start(scene, ALL);
      await server.push(ONE, archive.url);
      await server.confirmed(TWO);
      expect(await server.push(TWO, other.url)).toEqual(OK);
      expect(other.has(TWO)).toBe(true);
      const flags = ["--cluster", "other"];
      expect(await server.push(TWO, archive.url, { flags })).toEqual(OK);
      expect(archive.pushesOf(TWO)).toBe(2);
    });
  });

  describe("archives nothing ahead", () => {
    test.each<
      [string, (server: ArchivingServer) => Promise<Parameters<ArchivingServer["push"]>[2]>]
    >([
      ["with --look-ahead 0", async () => ({ flags: ["--look-ahead", "0"] })],
      ["with WALARC_LOOK_AHEAD=0", async () => ({ env: { WALARC_LOOK_AHEAD: "0" } })],
      [
        "with look_ahead = 0 in the file",
        async () => {
          const path = `${scene.newPath()}.toml`;
          await scene.workspace.writeFile(path, "[client]\nlook_ahead = 0\n");
          return { env: { WALARC_CONFIG: path } };
        },
      ],
      [
        "where the server is the first process, which inherits orphans",
        async (server) => {
          await server.write("postmaster.pid", "1\n");
          return {};
        },
      ],
    ])("%s", async (_title, change) => {
      await using archive = await TakingArchive.open(scene);
      await using server = await ArchivingServer.start(scene, ALL);
      const more = await change(server);
      expect(await server.push(ONE, archive.url, more)).toEqual(OK);
      expect(await server.push(TWO, archive.url, more)).toEqual(OK);
      expect(server.hasLedger()).toBe(false);
    });

    test("for a history file or a partial segment, or when hardly anything waits", async () => {
      await using archive = await TakingArchive.open(scene);
      await using server = await ArchivingServer.start(scene, [ONE, TWO]);
      const history = makeHistory(2, [{ timeline: 1, switchLsn: "0/500028" }]);
      const partial = makePartial({ number: 4, segmentSizeBytes: MIB });
      for (const file of [history, partial]) await server.ready(file);
      for (const file of [history, partial, ONE]) {
        expect(await server.push(file, archive.url)).toEqual(OK);
      }
      expect(server.hasLedger()).toBe(false);
    });
  });

  test("takes only what PostgreSQL wants archived, and no more than the limit", async () => {
    await using archive = await TakingArchive.open(scene);
    const wanted = ALL.filter((file) => file !== THREE);
    await using server = await ArchivingServer.start(scene, wanted);
    await server.write(`pg_wal/${THREE.name}`, THREE.bytes);
    const flags = ["--look-ahead", "2MB"];
    expect(await server.push(ONE, archive.url, { flags })).toEqual(OK);
    await server.confirmed(TWO);
    await server.confirmed(FOUR);
    expect(await server.push(TWO, archive.url, { flags })).toEqual(OK);
    await server.confirmed(ALL[4] as MadeFile);
    expect(archive.has(THREE)).toBe(false);
    expect(archive.files.size).toBe(4);
  });

  test("sweeps what a killed process left also when nothing more waits", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    await server.push(ONE, archive.url);
    const shipper = await server.shipper();
    process.kill(shipper, "SIGKILL");
    await eventually("it is gone", () => !isRunning(shipper));
    expect(await server.push(ALL.at(-1) as MadeFile, archive.url)).toEqual(OK);
    expect(server.hasLedger()).toBe(false);
  });

  test("leaves nothing behind when the server ends", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    await server.push(ONE, archive.url);
    const shipper = await server.shipper();
    server.end();
    await eventually("the shipper is gone", () => !isRunning(shipper));
    expect(server.hasLedger()).toBe(false);
  });
});

/** PostgreSQL's own notes, with their times. */
function statusFiles(server: ArchivingServer): string[] {
  const directory = join(server.path, "pg_wal/archive_status");
  return readdirSync(directory)
    .sort()
    .map((name) => `${name} ${statSync(join(directory, name)).ctimeMs}`);
}
