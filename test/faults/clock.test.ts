import { globSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { segment, segmentText } from "../retention/stage.ts";
import { ClientScene } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";

/*
 * The real daemon under a clock that is wrong by years, as after a dead battery or a bad time
 * server. Where each claim counts, it counts in seconds; whoever trusted the time of day would
 * remove all but the last segment, or never anything again.
 */

const CONFIG = `
[clusters.main.retention]
interval = "1d"
keep_backups = 0
keep_for = "2s"
stale_after = "1h"
stale_policy = "release"
`;

/** Debian: faketime. Its command would stand between us and the daemon. */
const [LIBRARY] = globSync("/usr/lib/*/faketime/libfaketime.so.1");

describe.skipIf(LIBRARY === undefined)("a daemon whose clock jumps by ten years", () => {
  let scene: ClientScene;
  let daemon: WalarcDaemon;
  let offsetFile: string;

  beforeAll(async () => {
    scene = await ClientScene.create("node");
    const { workspace, installation } = scene;
    offsetFile = await workspace.writeFile(workspace.path("offset"), "");
    const script = `#!/bin/sh
offset=$(cat ${offsetFile})
[ -z "$offset" ] && exec ${installation.walarc} "$@"
export LD_PRELOAD=${LIBRARY} FAKETIME="$offset" FAKETIME_DONT_FAKE_MONOTONIC=1
exec ${installation.walarc} "$@"
`;
    const walarc = await workspace.writeFile(workspace.path("at-another-time"), script, 0o755);
    const parts = { workspace, installation: { ...installation, walarc } };
    daemon = await WalarcDaemon.prepare({ ...parts, moreConfig: CONFIG });
    await daemon.start();
  });
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test("removes before, between and after the jumps what a right clock would remove", async () => {
    for (const number of [1, 2, 3, 4]) await push(number);
    const inAnHour = new Date(Date.now() + 3_600_000).toISOString();
    await run("hold", "add", "h", "--from", segmentText(3), "--until", inAnHour);
    // Time passes, which only newer segments can show.
    let number = 4;
    const passed = eventually(
      "the first two have left the window",
      async () => {
        await push((number += 1));
        return (await plan()).length === 2;
      },
      { intervalMs: 300 },
    );
    await passed;
    await report(number);
    expect(await plan()).toEqual([segmentText(1), segmentText(2)]);

    for (const offset of ["+10y", "-10y", "+1d", ""]) {
      await restart(offset);
      expect(await plan(), `clock ${offset}`).toEqual([segmentText(1), segmentText(2)]);
      await push((number += 1));
      await report(number);
      expect(await plan(), `clock ${offset}`).toEqual([segmentText(1), segmentText(2)]);
      const { claims } = await status();
      expect(claims.map(({ name, stale }) => [name, stale])).toEqual([
        ["s1", false],
        ["keep_for", undefined],
        ["h", undefined],
      ]);
    }

    // Without the hold and under the wrongest clock, the window still counts seconds.
    await restart("+10y");
    await run("hold", "rm", "h");
    await push((number += 1));
    const kept = (await plan()).at(-1) ?? "";
    expect(kept >= segmentText(2) && kept < segmentText(number)).toBe(true);
  });

  async function restart(offset: string): Promise<void> {
    expect(await daemon.stop()).toBe(0);
    await scene.workspace.writeFile(offsetFile, offset);
    await daemon.start();
    const line = daemon.logLines().findLast(({ msg }) => msg === "walarc is serving");
    const years = (Date.parse(String(line?.["time"])) - Date.now()) / (365 * 86_400_000);
    expect(Math.round(years) + 0).toBe(offset.endsWith("y") ? Number.parseInt(offset, 10) : 0);
  }

  async function run(...args: string[]): Promise<string> {
    const outcome = await scene.run(args, { env: { WALARC_SERVER: daemon.url } });
    expect([args, outcome.status, outcome.stderr]).toEqual([args, 0, ""]);
    return outcome.stdout;
  }

  async function push(number: number): Promise<void> {
    const { name, bytes } = segment(number);
    await run("push", await scene.workspace.writeFile(scene.workspace.path(name), bytes));
  }

  async function report(number: number): Promise<void> {
    const standby = await scene.makeDataDirectory("standby");
    const options = { cwd: standby.path, env: { WALARC_SERVER: daemon.url } };
    const args = ["cleanup", segmentText(number), "--standby", "s1"];
    expect(await scene.run(args, options)).toMatchObject({ status: 0 });
  }

  async function plan(): Promise<string[]> {
    const { remove } = JSON.parse(await run("prune", "--dry-run", "--json")) as {
      remove: string[];
    };
    return remove;
  }

  async function status(): Promise<{ claims: { name: string; stale?: boolean }[] }> {
    return JSON.parse(await run("status", "--json")) as {
      claims: { name: string; stale?: boolean }[];
    };
  }
});
