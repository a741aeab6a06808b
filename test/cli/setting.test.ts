import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES, STOP_STATUS } from "../../src/errors.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";

const NAME = "000000010000000000000007";

let scene: ClientScene;

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("whose call it is", () => {
    async function statusIn(
      files: Readonly<Record<string, string>>,
      args: readonly string[],
      destination = "pg_wal/RECOVERYXLOG",
    ): Promise<number | null> {
      const path = await scene.newDirectory();
      for (const [name, text] of Object.entries(files)) {
        await scene.workspace.writeFile(join(path, name), text);
      }
      const fixed = ["fetch", "--server", "unix:/nowhere/s", "--timeout", "0.3"];
      const call = [...fixed, ...args, NAME, destination];
      return (await scene.run(call, { cwd: path })).status;
    }

    test.each([
      ["no sign of a standby", {}, STOP_STATUS],
      ["recovery.signal", { "recovery.signal": "" }, STOP_STATUS],
      ["standby.signal", { "standby.signal": "" }, 3],
      ["both signals: standby.signal counts", { "standby.signal": "", "recovery.signal": "" }, 3],
      ["recovery.conf with standby_mode", { "recovery.conf": "standby_mode = 'on'\n" }, 3],
      ["recovery.conf, spelled freely", { "recovery.conf": "a='b'\n  Standby_Mode TRUE # x" }, 3],
      [
        "recovery.conf, turned off below",
        { "recovery.conf": "standby_mode=on\nstandby_mode=off" },
        200,
      ],
      ["recovery.conf with a comment", { "recovery.conf": "#standby_mode = on" }, STOP_STATUS],
      ["recovery.conf without it", { "recovery.conf": "restore_command = 'x'" }, STOP_STATUS],
    ])("%s", async (_title, files, status) => {
      expect(await statusIn(files, [])).toBe(status);
    });

    test("history files are asked for in recovery, too", async () => {
      expect(await statusIn({}, [], "/x/pg_wal/RECOVERYHISTORY")).toBe(STOP_STATUS);
      expect(await statusIn({}, [], "/x/pg_wal/MYRECOVERYHISTORY")).toBe(3);
    });

    test("a promotion, its signal file gone, is not stopped over the old history", async () => {
      const running = { "postmaster.pid": "1" };
      expect(await statusIn(running, [], "pg_wal/RECOVERYHISTORY")).toBe(3);
      expect(await statusIn(running, [], "pg_wal/RECOVERYXLOG")).toBe(STOP_STATUS);
      const recovering = { ...running, "recovery.signal": "" };
      expect(await statusIn(recovering, [], "pg_wal/RECOVERYHISTORY")).toBe(STOP_STATUS);
    });

    test.each([
      [{ "standby.signal": "" }, "stop", STOP_STATUS],
      [{}, "stop", STOP_STATUS],
      [{}, "continue", 3],
      [{ "standby.signal": "" }, "auto", 3],
      [{ "standby.signal": "" }, "explode", 2],
      [{}, "explode", STOP_STATUS],
    ])("in %j --on-error %s decides", async (files, choice, status) => {
      expect(await statusIn(files, ["--on-error", choice])).toBe(status);
    });

    test.each([
      [["fetch", NAME, "pg_wal/RECOVERYXLOG", "more"]],
      [["fetch", "--frobnicate", NAME, "pg_wal/RECOVERYXLOG"]],
      [["fetch", "not-a-wal-file", "pg_wal/RECOVERYXLOG"]],
      [["fetch", "--config", "/nowhere", NAME, "pg_wal/RECOVERYXLOG"]],
      [["fetch", "--timeout", "never", NAME, "pg_wal/RECOVERYXLOG"]],
      [["fetch", NAME]],
      [["fetch"]],
      [["fetsch", NAME, "pg_wal/RECOVERYXLOG"]],
      [["status", NAME, "pg_wal/RECOVERYXLOG"]],
    ])("a mistyped restore_command ends no recovery early: %j", async (args) => {
      const recovery = await scene.makeDataDirectory("recovery");
      expect(await scene.run(args, { cwd: recovery.path })).toMatchObject({ status: STOP_STATUS });
      const standby = await scene.makeDataDirectory("standby");
      const { status } = await scene.run(args, { cwd: standby.path });
      expect([FAILURES.usage.exit, FAILURES.rejected.exit]).toContain(status);
    });
  });
});
