import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { runCommand } from "../support/child.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";

/** dist/walarc-client started directly, without the launcher that clears the environment. */

const NAME = "000000010000000000000007";

let scene: ClientScene;
let client: string;
let preload: string;

describe.runIf(RUNTIMES.includes("standalone"))("the standalone client", () => {
  beforeAll(async () => {
    scene = await ClientScene.create();
    client = join(scene.installation.walarc, "../../dist/walarc-client");
    const code = 'require("node:fs").writeSync(1, "strange code\\n");';
    preload = await scene.workspace.writeFile(`${scene.newPath()}.cjs`, code);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  test("does what it does whatever the environment tells its runtime", async () => {
    const cwd = await scene.newDirectory();
    const expected = await run(cwd, {});
    expect(expected).toMatchObject({ status: FAILURES.unreachable.exit, signal: null, stdout: "" });
    for (const [name, value] of [
      ["BUN_BE_BUN", "1"],
      ["BUN_OPTIONS", "--version"],
      ["BUN_OPTIONS", `--preload=${preload}`],
      ["BUN_OPTIONS", "--cpu-prof"],
      ["BUN_INSPECT", "ws://127.0.0.1:0/"],
      ["BUN_INSPECT_PRELOAD", preload],
      ["NODE_OPTIONS", `--require ${preload}`],
      ["NODE_CHANNEL_FD", "2"],
    ] as const) {
      const outcome = await run(cwd, { [name]: value });
      expect({ name, value, ...outcome }).toEqual({ name, value, ...expected });
    }
  });

  test("reads no configuration of its runtime in the data directory", async () => {
    const cwd = await scene.newDirectory();
    const expected = await run(cwd, {});
    await scene.workspace.writeFile(join(cwd, ".env"), "WALARC_SERVER=ftp://x\nWALARC_TIMEOUT=x\n");
    const bunfig = `preload = ["${preload}"]\n[run]\npreload = ["${preload}"]\n`;
    await scene.workspace.writeFile(join(cwd, "bunfig.toml"), bunfig);
    for (const name of ["package.json", "tsconfig.json"]) await writeFile(join(cwd, name), "{,");
    expect(await run(cwd, {})).toEqual(expected);
  });
});

async function run(cwd: string, env: Readonly<Record<string, string>>) {
  const { account } = scene.workspace;
  const call = ["fetch", NAME, "x", "--server", `unix:${cwd}/nothing`];
  const config = { WALARC_CONFIG: scene.installation.env["WALARC_CONFIG"] };
  return await runCommand(client, call, { account, cwd, env: { ...config, ...env } });
}
