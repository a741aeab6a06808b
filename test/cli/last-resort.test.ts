import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES, STOP_STATUS } from "../../src/errors.ts";
import { type Outcome, runCommand } from "../support/child.ts";
import { ClientScene, type Runtime, RUNTIMES } from "../support/client-scene.ts";
import { answer, fileAnswer, says, sha256Of } from "../support/faults.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

/*
 * What no command should ever come to, and what it ends with all the same. Node's own choice would
 * be 1 for an error nobody caught, which ends a recovery, and 0 for an empty event loop, which
 * loses WAL.
 */

const SEGMENT = makeSegment({ number: 1, segmentSizeBytes: MIB });

const DISASTERS: Readonly<Record<string, string>> = {
  "an error that nobody catches": `setTimeout(() => { throw new Error("boom"); }, 1);`,
  "a promise that nobody looks after": `setTimeout(() => Promise.reject(new Error("boom")), 1);`,
  "something thrown that is no error": `setTimeout(() => { throw undefined; }, 1);`,
  "nothing left to wait for": `
    global.setTimeout = () => {};
    if (globalThis.Bun) Bun.connect = () => new Promise(() => {});
    else require("node:net").connect = () => new (require("node:net").Socket)();
  `,
};

let scene: ClientScene;
let segmentFile: string;

beforeAll(async () => {
  scene = await ClientScene.create();
  segmentFile = await scene.workspace.writeFile(scene.workspace.path(SEGMENT.name), SEGMENT.bytes);
});
afterAll(async () => await scene[Symbol.asyncDispose]());

describe.each(RUNTIMES)("%s:", (runtime) => {
  test.each(Object.entries(DISASTERS))(
    "%s is a bug to push, and a stop to a fetch in recovery",
    async (_title, code) => {
      const hook = await scene.workspace.writeFile(`${scene.newPath()}.cjs`, code);
      const recovery = await scene.makeDataDirectory("recovery");
      const standby = await scene.makeDataDirectory("standby");
      await using server = await scene.serve({ moment: "received", script: () => {} });
      const call = ["--server", server.url, "--timeout", "5"];
      const fetch = ["fetch", ...call, SEGMENT.name, "pg_wal/RECOVERYXLOG"];

      const push = await runHooked(runtime, hook, ["push", ...call, segmentFile]);
      expect(push).toMatchObject({ status: FAILURES.bug.exit, signal: null });
      const stop = await runHooked(runtime, hook, fetch, recovery.path);
      expect(stop).toMatchObject({ status: STOP_STATUS, signal: null });
      const bug = await runHooked(runtime, hook, fetch, standby.path);
      expect(bug).toMatchObject({ status: FAILURES.bug.exit, signal: null });
    },
  );
});

test("a closed standard error changes no status", async () => {
  const { walarc } = scene.installation;
  const recovery = await scene.makeDataDirectory("recovery");
  const script = `"$0" "$@" 2>&-`;
  const fetch = ["fetch", "--server", "unix:/nowhere", "--timeout", "0.3", SEGMENT.name];
  for (const [args, status] of [
    [["push", "--server", "unix:/nowhere", segmentFile], FAILURES.unreachable.exit],
    [[...fetch, "pg_wal/RECOVERYXLOG"], STOP_STATUS],
  ] as const) {
    const outcome = await runCommand("/bin/sh", ["-c", script, walarc, ...args], {
      account: scene.workspace.account,
      cwd: recovery.path,
      env: scene.installation.env,
    });
    expect(outcome).toMatchObject({ status, stderr: "" });
  }
});

describe.each(otherNodes())("Node %s, found on this machine,", (version, node) => {
  test("pushes and fetches as ours does, or says why not", async () => {
    const recovery = await scene.makeDataDirectory("recovery");
    const digest = { "Walarc-Sha256": sha256Of(SEGMENT.bytes) };
    const isEnough = Number.parseInt(version, 10) >= 20;
    await using server = await scene.serve(says(answer(201, digest, "{}")));
    const push = await runNode(node, [], ["push", "--server", server.url, segmentFile]);
    expect(push).toMatchObject({ status: isEnough ? 0 : FAILURES.usage.exit });

    server.fault = says(fileAnswer(SEGMENT.bytes));
    const fetch = ["fetch", "--server", server.url, SEGMENT.name, "pg_wal/RECOVERYXLOG"];
    const fetched = await runNode(node, [], fetch, recovery.path);
    expect(fetched).toMatchObject({ status: isEnough ? 0 : STOP_STATUS });

    const status = await runNode(node, [], ["status"]);
    expect(status).toMatchObject({ status: FAILURES.usage.exit });
    expect(status.stderr).toContain(`Node ${version}`);
  });
});

/** Nodes too old for the daemon, which database hosts have. */
function otherNodes(): [string, string][] {
  const versions = new Map<string, string>();
  for (const node of ["/usr/bin/node", "/usr/local/bin/node"]) {
    try {
      const version = execFileSync(node, ["-p", "process.versions.node"], { encoding: "utf8" });
      if (Number.parseInt(version, 10) < 24) versions.set(version.trim(), node);
    } catch {
      // There is none.
    }
  }
  return [...versions];
}

/** The client with a script that runs before it. */
async function runHooked(
  runtime: Runtime,
  hook: string,
  args: readonly string[],
  cwd = scene.workspace.directory,
): Promise<Outcome> {
  if (runtime === "node") return await runNode(process.execPath, ["--require", hook], args, cwd);
  const { account } = scene.workspace;
  const env = { ...scene.installation.env, BUN_OPTIONS: `--preload=${hook}` };
  return await runCommand(await openedClient(), args, { account, cwd, env });
}

/** A copy of the standalone client that heeds the variable from which the build sealed it off. */
async function openedClient(): Promise<string> {
  const path = scene.workspace.path("opened-client");
  if (existsSync(path)) return path;
  const bytes = await readFile(join(scene.installation.walarc, "../../dist/walarc-client"));
  const sealed = bytes.indexOf("\0=UN_OPTIONS\0");
  expect(sealed).toBeGreaterThan(0);
  bytes.write("B", sealed + 1);
  return await scene.workspace.writeFile(path, bytes, 0o755);
}

async function runNode(
  node: string,
  nodeArgs: readonly string[],
  args: readonly string[],
  cwd = scene.workspace.directory,
): Promise<Outcome> {
  const program = join(scene.installation.walarc, "../../dist/walarc.cjs");
  return await runCommand(node, [...nodeArgs, program, ...args], {
    account: scene.workspace.account,
    cwd,
    env: scene.installation.env,
  });
}
