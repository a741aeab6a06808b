import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { segment, segmentText, segmentTexts } from "../retention/stage.ts";
import type { Outcome } from "../support/child.ts";
import { ClientScene, type DataDirectory, RUNTIMES } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { makeBackupHistory, MIB } from "../support/wal-maker.ts";

const CONFIG = `
[clusters.main.retention]
interval = "1h"
keep_backups = 0
[clusters.other]
`;

describe.each(RUNTIMES)("on %s", (runtime) => {
  let scene: ClientScene;
  let daemon: WalarcDaemon;
  let standby: DataDirectory;

  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    const { workspace, installation } = scene;
    daemon = await WalarcDaemon.prepare({ workspace, installation, moreConfig: CONFIG });
    await daemon.start();
    const files = Array.from({ length: 20 }, (_, index) => segment(index + 1));
    for (const { name, bytes } of [
      ...files,
      makeBackupHistory({ number: 3, segmentSizeBytes: MIB }),
    ]) {
      const path = await workspace.writeFile(workspace.path(name), bytes);
      expect(await walarc("push", path)).toMatchObject({ status: 0 });
    }
    standby = await scene.makeDataDirectory("standby");
    await workspace.writeFile(join(standby.path, "postmaster.pid"), "1\n/data\n2\n5433\n/run\n*\n");
  });

  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  async function walarc(...args: string[]): Promise<Outcome> {
    return scene.run(args, { env: { WALARC_SERVER: daemon.url } });
  }

  async function cleanup(directory: DataDirectory, ...args: string[]): Promise<Outcome> {
    const env = { WALARC_SERVER: daemon.url };
    return scene.run(["cleanup", ...args], { cwd: directory.path, env });
  }

  async function standbys(): Promise<string[]> {
    const { stdout } = await walarc("standby", "ls", "--json");
    const { standbys } = JSON.parse(stdout) as {
      standbys: { name: string; restartPoint: string }[];
    };
    return standbys.map(({ name, restartPoint }) => `${name} ${restartPoint}`);
  }

  test("cleanup reports in silence, under the host's name and port or the given name", async () => {
    const silent = { status: 0, stdout: "", stderr: "" };
    expect(await cleanup(standby, segmentText(8))).toMatchObject(silent);
    expect(await cleanup(standby, segmentText(9), "--standby", "s1")).toMatchObject(silent);
    expect(await cleanup(standby, "--standby=s2", segmentText(30))).toMatchObject(silent);
    const own = `${hostname().toLowerCase()}-5433`;
    expect(await standbys()).toEqual(
      [`${own} ${segmentText(8)}`, `s1 ${segmentText(9)}`, `s2 ${segmentText(20)}`].sort(),
    );
  });

  test.each(["recovery", "other"] as const)(
    "cleanup where it is no standby (%s) says so, ends with 0, and moves nobody's claim",
    async (setting) => {
      const before = await standbys();
      const clone = await scene.makeDataDirectory(setting);
      await scene.workspace.writeFile(join(clone.path, "postmaster.pid"), "1\n/d\n2\n5433\n");
      const outcome = await cleanup(clone, segmentText(19), "--standby", "s1");
      expect(outcome).toMatchObject({ status: 0, stdout: "" });
      expect(outcome.stderr).toMatch(
        /^walarc: cleanup 0.*: nothing was reported: .*no standby.*\n$/,
      );
      expect(await standbys()).toEqual(before);
      // Nor does it need what only a report does: the copy may stand on another host.
      const bare = await cleanup(clone, segmentText(19), "--token-file", "/nowhere/token");
      expect(bare).toMatchObject({ status: 0, stderr: outcome.stderr });
    },
  );

  test("cleanup reports on a standby of version 11, whose mode is in recovery.conf", async () => {
    const old = await scene.makeDataDirectory("other");
    await scene.workspace.writeFile(join(old.path, "recovery.conf"), "standby_mode = 'on'\n");
    expect(await cleanup(old, segmentText(9), "--standby", "old")).toMatchObject({ stderr: "" });
    expect(await standbys()).toContain(`old ${segmentText(9)}`);
    expect(await walarc("standby", "forget", "old")).toMatchObject({ status: 0 });
  });

  test.each<[string[], number, string]>([
    [["0".repeat(24), "--standby", "s1"], 5, "rejected: .*all zeros"],
    [[segmentText(85), "--standby", "s1"], 5, "rejected: .*65 segments ahead"],
    [["rubbish", "--standby", "s1"], 5, "rejected: "],
    [[segmentText(9), "--standby", "S 1"], 2, "usage: "],
    [[segmentText(9), "--standby", "../x"], 2, "usage: "],
    [[], 2, "usage: missing RESTART_FILE"],
    [[segmentText(9), "--server", "unix:/nowhere/s"], 3, "unreachable: "],
    [[segmentText(9), "--cluster", "nobody"], 2, "usage: there is no cluster"],
  ])("cleanup %j ends with %i", async (args, status, why) => {
    const before = await standbys();
    const outcome = await cleanup(standby, ...args);
    expect(outcome.status).toBe(status);
    expect(outcome.stderr).toMatch(new RegExp(`^walarc: cleanup.*: ${why}`));
    expect(await standbys()).toEqual(before);
  });

  test("cleanup of a standby without a port asks for a name", async () => {
    const nameless = await scene.makeDataDirectory("standby");
    const outcome = await cleanup(nameless, segmentText(9));
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toMatch(/name it with --standby/);
  });

  // What follows no database host runs, and is the same on every runtime.
  if (runtime !== "node") return;
  describe("people", () => {
    test("see who holds what, and why nothing is removed", async () => {
      const { stdout } = await walarc("standby", "ls");
      expect(stdout).toMatch(/^STANDBY +RESTART POINT +REPORTED +HOLDS\n/);
      expect(stdout).toMatch(/^s1 +000000010000000000000009 +\d+s ago by report +12MB$/m);
      const status = await walarc("status", "--cluster", "main");
      expect(status.stdout).toMatch(/^kept because +standby ".*" .*holds 13 segments \(13 MB\)/m);
    });

    test("are told when a hold comes too late for some of its WAL", async () => {
      const add = await walarc("hold", "add", "late", "--from", segmentText(0));
      const why = `from before the oldest archived segment, ${segmentText(1)}`;
      expect(add).toMatchObject({ status: 0, stdout: expect.stringContaining(why) });
      expect((await walarc("hold", "ls")).stdout).toContain(why);
      expect(await walarc("hold", "rm", "late")).toMatchObject({ status: 0 });
    });

    test("add, list and remove holds", async () => {
      const add = ["hold", "add", "backup", "--from", segmentText(5)];
      expect(await walarc(...add, "--until", "2037-01-31T08:00:00Z")).toMatchObject({ status: 0 });
      expect((await walarc("hold", "ls")).stdout).toMatch(
        /^HOLD .*\nbackup +0{7}10{15}5 +2037-01-31T08:00:00\.000Z\n$/,
      );
      expect(JSON.parse((await walarc("hold", "ls", "--json")).stdout)).toEqual({
        holds: [{ name: "backup", from: segmentText(5), until: "2037-01-31T08:00:00.000Z" }],
      });
      expect(await walarc("hold", "rm", "backup")).toMatchObject({ status: 0 });
      expect((await walarc("hold", "ls")).stdout).toBe("no holds\n");
    });

    test.each<[string[], number]>([
      [["hold", "rm", "nothing"], 1],
      [["standby", "forget", "nobody"], 1],
      [["hold", "add", "h"], 2],
      [["hold", "add", "h", "--from", segmentText(5), "--until", "soon"], 2],
      [["hold", "add", "h", "--from", segmentText(5), "--until", "2001-01-01"], 2],
      [["hold", "add", "h", "--from", segmentText(5), "--until", "2030-02-31"], 2],
      [["hold", "add", "h", "--from", "rubbish"], 5],
      [["hold", "keep", "h"], 2],
      [["hold"], 2],
      [["standby", "rm", "s1"], 2],
      [["standby", "forget", "S1"], 2],
      [["prune", "now"], 2],
      [["prune", "--server", "unix:/nowhere/s"], 3],
    ])("%j ends with %i and one line that says why", async (args, status) => {
      const outcome = await walarc(...args);
      expect(outcome).toMatchObject({ status, stdout: "" });
      expect(outcome.stderr).toMatch(/^walarc: .*: .*: .*\n(hint: .*\n)?$/);
    });

    test("are told by a dry run exactly what a prune then removes", async () => {
      const dry = await walarc("prune", "--dry-run");
      expect(dry.stdout).toMatch(/^would remove +8 files, 7MB of WAL$/m);
      expect(dry.stdout).toMatch(/^horizon +000000010000000000000008$/m);
      const names = [...segmentTexts(1, 7), `${segmentText(3)}.00000028.backup`].sort();
      const planned = JSON.parse((await walarc("prune", "--dry-run", "--json")).stdout) as object;
      expect(planned).toMatchObject({ dryRun: true, remove: names, removeBytes: 7 * MIB });
      const real = JSON.parse((await walarc("prune", "--json")).stdout) as object;
      expect(real).toMatchObject({ dryRun: false, remove: names, removeBytes: 7 * MIB });
      const { files } = JSON.parse((await walarc("ls", "--json")).stdout) as {
        files: { name: string }[];
      };
      expect(files.map(({ name }) => name)).toEqual(segmentTexts(8, 20));
      expect((await walarc("prune")).stdout).toMatch(/^removed +nothing$/m);
    });
  });
});
