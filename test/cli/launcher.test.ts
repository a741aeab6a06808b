import { chmod, copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCommand } from "../support/child.ts";
import { ClientScene } from "../support/client-scene.ts";

/** bin/walarc, the shell script that PostgreSQL starts, with and without what it needs to start. */

const NAME = "000000010000000000000007";
const PUSH = ["push", `pg_wal/${NAME}`];
const FETCH = ["fetch", NAME, "pg_wal/RECOVERYXLOG"];
const LAUNCHER = fileURLToPath(new URL("../../bin/walarc", import.meta.url));

/** Stands in for a program and tells how it was started. */
const TELLER = '#!/bin/sh\necho "$0: $*; $UV_THREADPOOL_SIZE; $NODE_OPTIONS"\n';

/** What the kernel takes for no program of this machine. */
const NO_PROGRAM = "\x7fELF\x02\x01\x01\x00\x00";

let scene: ClientScene;
/** A PATH with what the script calls and no Node. */
let tools: string;

beforeAll(async () => {
  scene = await ClientScene.create();
  tools = await scene.newDirectory();
  for (const tool of ["readlink", "grep"]) await symlink(`/usr/bin/${tool}`, join(tools, tool));
});
afterAll(async () => await scene[Symbol.asyncDispose]());

describe("without", () => {
  test.each<[string, (prefix: string) => Promise<unknown>]>([
    ["any Node", (prefix) => rm(join(prefix, "node_modules/.bin/node"))],
    ["a build", (prefix) => rm(join(prefix, "dist/walarc.cjs"))],
    [
      "a Node for this machine",
      (prefix) => writeFile(join(prefix, "node_modules/.bin/node"), NO_PROGRAM),
    ],
  ])("%s it keeps to the exit statuses, in one line and a hint", async (_title, spoil) => {
    const prefix = await install();
    await spoil(prefix);
    const recovery = await scene.makeDataDirectory("recovery");
    const standby = await scene.makeDataDirectory("standby");
    for (const [args, cwd, status] of [
      [PUSH, recovery.path, 2],
      [["cleanup", NAME], standby.path, 2],
      [FETCH, recovery.path, 200],
      [FETCH, standby.path, 2],
      [["fetch", NAME, "somewhere"], recovery.path, 2],
      [["fetch", "--on-error", "stop", ...FETCH.slice(1)], standby.path, 200],
      [["fetch", "--on-error=continue", ...FETCH.slice(1)], recovery.path, 2],
    ] as const) {
      const outcome = await start(join(prefix, "bin/walarc"), args, { cwd });
      expect({ args, ...outcome }).toMatchObject({ args, status, signal: null, stdout: "" });
      // The shell says in its own words why a program did not start.
      expect(outcome.stderr).toMatch(/(^|\n)walarc: [a-z]+: usage: [^\n]+\nhint: [^\n]+\n$/);
    }
  });
});

describe("the launcher", () => {
  test("is found through links, and in directories with spaces", async () => {
    const prefix = await install("with space");
    const links = await scene.newDirectory();
    await symlink(join(prefix, "bin/walarc"), join(links, "first"));
    await mkdir(join(links, "deeper"));
    await symlink("../first", join(links, "deeper/second"));
    for (const path of [join(prefix, "bin/walarc"), join(links, "deeper/second")]) {
      const outcome = await start(path, ["push", "a b", "$c"], { cwd: "/" });
      expect(outcome).toMatchObject({ status: 0, stderr: "" });
      expect(outcome.stdout).toContain("dist/walarc.cjs push a b $c; ; \n");
    }
    const beside = await start("/bin/sh", ["walarc", "ls"], { cwd: join(prefix, "bin") });
    expect(beside.stdout).toContain("dist/walarc.cjs ls; ; \n");
  });

  test("gives the daemon threads, unless somebody chose their number", async () => {
    const walarc = join(await install(), "bin/walarc");
    expect((await start(walarc, ["serve"])).stdout).toMatch(/serve; 128; \n$/);
    const chosen = await start(walarc, ["serve"], { env: { UV_THREADPOOL_SIZE: "9" } });
    expect(chosen.stdout).toMatch(/serve; 9; \n$/);
  });

  test("keeps the server's NODE_OPTIONS from a process they were not meant for", async () => {
    const walarc = join(await install(), "bin/walarc");
    const env = { NODE_OPTIONS: "--require /nowhere" };
    expect((await start(walarc, PUSH, { env })).stdout).toMatch(/; \n$/);
  });

  test("prefers the standalone client for what PostgreSQL runs, where there is one", async () => {
    const prefix = await install();
    await writeFile(join(prefix, "dist/walarc-client"), TELLER, { mode: 0o755 });
    const walarc = join(prefix, "bin/walarc");
    for (const command of ["push", "fetch", "cleanup"]) {
      const { stdout } = await start(walarc, [command, "x"]);
      expect(stdout).toMatch(new RegExp(`walarc-client: ${command} x; ; \n$`));
    }
    expect((await start(walarc, ["status"])).stdout).toContain("walarc.cjs status");
  });

  test.each(["dash", "bash"])(
    "asks nobody with a program that does not run, under %s",
    async (sh) => {
      const prefix = await install();
      await writeFile(join(prefix, "dist/walarc-call"), NO_PROGRAM, { mode: 0o755 });
      const { path } = await scene.makeDataDirectory("standby");
      await mkdir(join(path, "pg_wal/pgsql_tmp.walarc"));
      const args = [await linkTo(sh), join(prefix, "bin/walarc"), ...FETCH];
      const { status, stdout } = await start("/usr/bin/env", args, { cwd: path });
      expect({ status, stdout }).toMatchObject({
        status: 0,
        stdout: expect.stringContaining(`walarc.cjs ${FETCH.join(" ")}; ; \n`) as string,
      });
    },
  );

  test("keeps to the exit statuses where bash is sh, and nothing runs", async () => {
    const prefix = await install();
    for (const part of ["dist/walarc-client", "node_modules/.bin/node"]) {
      await writeFile(join(prefix, part), NO_PROGRAM, { mode: 0o755 });
    }
    const { path } = await scene.makeDataDirectory("standby");
    for (const args of [PUSH, FETCH]) {
      const words = [await linkTo("bash"), join(prefix, "bin/walarc"), ...args];
      expect(await start("/usr/bin/env", words, { cwd: path })).toMatchObject({ status: 2 });
    }
  });
});

/** A shell as `sh`, which some behave as. */
async function linkTo(shell: string): Promise<string> {
  const sh = join(await scene.newDirectory(), "sh");
  await symlink(`/bin/${shell}`, sh);
  return sh;
}

/** The launcher with a Node and a build that only tell how they were started. */
async function install(name = "prefix"): Promise<string> {
  const prefix = join(await scene.newDirectory(), name);
  for (const part of ["bin", "dist", "node_modules/.bin"]) {
    await mkdir(join(prefix, part), { recursive: true });
  }
  await copyFile(LAUNCHER, join(prefix, "bin/walarc"));
  await writeFile(join(prefix, "dist/walarc.cjs"), "");
  await writeFile(join(prefix, "node_modules/.bin/node"), TELLER, { mode: 0o755 });
  await chmod(join(prefix, "bin/walarc"), 0o755);
  await chmod(prefix, 0o755);
  return prefix;
}

async function start(
  program: string,
  args: readonly string[],
  { cwd = "/", env = {} }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
) {
  const { account } = scene.workspace;
  return await runCommand(program, args, { account, cwd, env: { PATH: tools, ...env } });
}
