import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { ArchivingServer, TakingArchive } from "../support/archiving-server.ts";
import { type Outcome, runCommand } from "../support/child.ts";
import { ClientScene } from "../support/client-scene.ts";
import { eventually } from "../support/eventually.ts";
import { sha256Of } from "../support/faults.ts";
import { RecoveringServer, segment, SmallArchive } from "../support/recovering-server.ts";
import type { MadeFile } from "../support/wal-maker.ts";

const ALL = Array.from({ length: 6 }, (_, index) => segment(5 + index));
const [ONE, TWO, THREE] = ALL as [MadeFile, MadeFile, MadeFile];
const OK = { status: 0, signal: null, stdout: "", stderr: "" };

let scene: ClientScene;
/** A line for each client that was started. */
let starts: string;

beforeAll(async () => {
  scene = await ClientScene.create("standalone");
  const client = join(scene.installation.walarc, "../../dist/walarc-client");
  starts = scene.newPath();
  // A process beside the server is this program as well, and starts no other.
  await rename(client, `${client}.real`);
  const script = `#!/bin/sh\nprintf '%s\\n' "$1" >>${starts}\nexec "$0.real" "$@"\n`;
  await writeFile(client, script);
  await chmod(client, 0o755);
});
afterAll(async () => await scene[Symbol.asyncDispose]());
beforeEach(async () => await scene.workspace.writeFile(starts, ""));

function startedClients(): number {
  return readFileSync(starts, "utf8").split("\n").length - 1;
}

describe("what asks an attendant", () => {
  test("was built, and needs no library, without which it would end with 1", async () => {
    // Of a program that is linked with some, this lists them, and ends with 0.
    const outcome = await runCall([], { LD_TRACE_LOADED_OBJECTS: "1" });
    expect(outcome).toMatchObject({ status: 2, stdout: "" });
  });

  test.each([
    ["push", "recovery", 2],
    ["fetch", "recovery", 200],
    ["fetch", "standby", 2],
  ] as const)("ends a %s in a %s with %i where no client can be started", async (...each) => {
    const [command, setting, status] = each;
    const { path } = await scene.makeDataDirectory(setting);
    const outcome = await runCall(["pg_wal/none", "/nowhere/walarc", command], {}, path);
    expect(outcome).toMatchObject({ status, stderr: expect.stringContaining("local: ") as string });
  });

  async function runCall(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    cwd = scene.workspace.directory,
  ): Promise<Outcome> {
    const program = join(scene.installation.walarc, "../../dist/walarc-call");
    return await runCommand(program, args, { account: scene.workspace.account, cwd, env });
  }
});

describe("a push for which somebody attends", () => {
  test("starts no client, once its segment is archived", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    expect(await server.push(ONE, archive.url)).toEqual(OK);
    for (const next of ALL.slice(1)) {
      await server.confirmed(next);
      expect(await server.push(next, archive.url)).toEqual(OK);
      expect(archive.has(next)).toBe(true);
    }
    expect(startedClients()).toBe(1);
  });

  test("waits for a segment on its way for longer than an attendant may be silent", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    const hold = Promise.withResolvers<void>();
    archive.holds.set(TWO.name, hold.promise);
    await server.push(ONE, archive.url);
    await eventually("it is on its way", () => existsSync(server.ledgerPath(`${TWO.name}.part`)));
    const [begunMs, outcome] = [performance.now(), server.push(TWO, archive.url)];
    await eventually("two silences have passed", () => performance.now() - begunMs > 2_000);
    expect(archive.has(TWO)).toBe(false);
    hold.resolve();
    expect(await outcome).toEqual(OK);
    expect(archive.has(TWO)).toBe(true);
    expect(startedClients()).toBe(1);
  });

  test.each([
    ["its segment has another content by now", {}],
    ["it names another cluster", { flags: ["--cluster", "other"] }],
    ["its environment names another cluster", { env: { WALARC_CLUSTER: "other" } }],
    ["it names another token", { env: { WALARC_TOKEN_FILE: "token" } }],
    ["it wants nothing archived ahead", { flags: ["--look-ahead", "0"] }],
    ["it has an empty argument", { flags: [""] }],
    ["it cannot be understood", { flags: ["--cluster="] }],
    ["it is longer than any call", { env: { WALARC_LONG: "x".repeat(70_000) } }],
  ])("is made by a client where %s", async (_title, more) => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    await server.write("token", "another\n");
    await server.push(ONE, archive.url);
    await server.confirmed(TWO);
    if (Object.keys(more).length === 0) await server.write(`pg_wal/${TWO.name}`, THREE.bytes);
    await server.push(TWO, archive.url, more);
    expect(startedClients()).toBe(2);
  });

  test.each<[string, (server: ArchivingServer, shipper: number) => unknown]>([
    ["stands still", (_server, shipper) => process.kill(shipper, "SIGSTOP")],
    ["has died", (_server, shipper) => process.kill(shipper, "SIGKILL")],
    ["has no say any more", (server) => writeFile(server.ledgerPath("owner"), "1 1")],
  ])("is made by a client when the attendant %s", async (title, strike) => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    await server.push(ONE, archive.url);
    await server.confirmed(TWO);
    const shipper = await server.shipper();
    await strike(server, shipper);
    expect(await server.push(TWO, archive.url)).toEqual(OK);
    expect(archive.has(TWO)).toBe(true);
    expect(startedClients()).toBe(2);
    if (title === "stands still") process.kill(shipper, "SIGCONT"); // Or it could never end.
  });

  test("fails with the client's own words", async () => {
    await using archive = await TakingArchive.open(scene);
    await using server = await ArchivingServer.start(scene, ALL);
    archive.troubled.add(TWO.name);
    await server.push(ONE, archive.url);
    await eventually("it was tried", () => archive.pushesOf(TWO) > 0);
    expect(await server.push(TWO, archive.url)).toMatchObject({
      status: FAILURES["store-failed"].exit,
      stderr: expect.stringContaining(`walarc: push ${TWO.name}: store-failed: `) as string,
    });
  });
});

describe("a fetch for which somebody attends", () => {
  test("starts no client for what is in stock", async () => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    expect(await server.fetch(ONE, archive.url)).toEqual(OK);
    for (const next of ALL.slice(1)) {
      await server.stocked(next);
      expect(await server.fetch(next, archive.url)).toEqual(OK);
      expect(sha256Of(await server.delivered())).toBe(sha256Of(next.bytes));
    }
    expect(startedClients()).toBe(1);
  });

  test("starts no client for what the archive does not have, and asks it each time", async () => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    const missing = segment(11); // The first that is not there.
    for (const next of ALL.slice(1)) {
      await server.stocked(next);
      await server.fetch(next, archive.url);
    }
    await eventually("it was asked for", () => archive.requestsFor(missing) > 0);
    const before = archive.requestsFor(missing);
    expect(await server.fetch(missing, archive.url)).toEqual({ ...OK, status: 1 });
    expect(await server.fetch(missing, archive.url)).toEqual({ ...OK, status: 1 });
    expect(archive.requestsFor(missing)).toBe(before + 2);
    expect(startedClients()).toBe(1);
    archive.add(missing);
    expect(await server.fetch(missing, archive.url)).toEqual(OK);
    expect(sha256Of(await server.delivered())).toBe(sha256Of(missing.bytes));
    expect(startedClients()).toBe(2);
  });

  test("is made by a client when the archive is away, and stops the recovery", async () => {
    const archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    await archive[Symbol.asyncDispose]();
    const flags = ["--timeout", "1"];
    expect(await server.fetch(segment(99), archive.url, { flags })).toMatchObject({
      status: 200,
      stderr: expect.stringContaining("unreachable") as string,
    });
    expect(startedClients()).toBe(2);
  });

  test.each(["directory", "link"])("replaces no %s", async (kind) => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await server.fetch(ONE, archive.url);
    await server.stocked(TWO);
    const destination = join(server.path, "pg_wal/other/RECOVERYXLOG");
    await mkdir(join(server.path, "pg_wal/other"));
    if (kind === "directory") await mkdir(destination);
    else await symlink("../elsewhere", destination);
    const args = ["fetch", "--server", archive.url, TWO.name, "pg_wal/other/RECOVERYXLOG"];
    expect(await scene.run(args, { cwd: server.path })).toMatchObject({
      status: 200,
      stderr: expect.stringMatching(/local: .* is (a directory|no regular file)/) as string,
    });
    expect(existsSync(join(server.path, "pg_wal/elsewhere"))).toBe(false);
  });
});

describe("an attendant's word", () => {
  test.each([
    ["nothing at all", "s.resume()"],
    ["the end", "s.end()"],
    ["no", 's.end("n")'],
    ["a status without end", 's.end("e" + "\\0".repeat(2000))'],
    ["a status that does not come", 's.end("e")'],
    ["what nobody understands", 's.end("maybe")'],
    ["half of a rename", 's.end("rpg_wal/stolen\\0pg_wal/RECO")'],
    ["a rename of what is not there", 's.end("rpg_wal/none\\0pg_wal/RECOVERYXLOG\\0")'],
    ["signs of life, and then the end", 's.end("....")'],
    ["endless text", 's.end("r" + "x".repeat(100000))'],
  ])("counts for nothing where it is: %s", async (_title, reply) => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await using _false = await falseAttendant(server, reply);
    expect(await server.fetch(ONE, archive.url, { flags: ["--prefetch", "0"] })).toEqual(OK);
    expect(sha256Of(await server.delivered())).toBe(sha256Of(ONE.bytes));
    expect(startedClients()).toBe(1);
  });

  test("counts when it is a status, which shows that the others were understood", async () => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await using _false = await falseAttendant(server, 's.write(".");s.end(".e\\0")');
    expect(await server.fetch(ONE, archive.url)).toEqual(OK);
    expect(startedClients()).toBe(0);
  });

  test.skipIf(process.getuid?.() !== 0)("counts for nothing from another account", async () => {
    await using archive = await SmallArchive.of(scene, ALL);
    await using server = await RecoveringServer.start(scene);
    await using _false = await falseAttendant(server, 's.end("e\\0")', { uid: 0, gid: 0 });
    expect(await server.fetch(ONE, archive.url, { flags: ["--prefetch", "0"] })).toEqual(OK);
    expect(startedClients()).toBe(1);
  });
});

test("what a call has waited for an attendant is a part of its time", async () => {
  await using archive = await TakingArchive.open(scene);
  await using server = await ArchivingServer.start(scene, ALL);
  const hold = Promise.withResolvers<void>();
  archive.holds.set(ONE.name, hold.promise);
  const begunMs = performance.now();
  const outcome = await server.push(ONE, archive.url, {
    flags: ["--timeout", "6"],
    env: { WALARC_WAITED_MS: "3000" },
  });
  const elapsedMs = performance.now() - begunMs;
  hold.resolve();
  expect(outcome.stderr).toContain("no answer within 6 s");
  expect(elapsedMs).toBeLessThan(6_000);
});

/** A process in the place of a prefetcher that says the same to everybody. */
async function falseAttendant(
  server: RecoveringServer,
  reply: string,
  owner: { uid?: number; gid?: number } = scene.workspace.account,
): Promise<AsyncDisposable> {
  const [parts, key] = [[basename(server.path), "pg_wal", "pgsql_tmp.walarc"], "0123456789abcdef"];
  const place = await scene.workspace.makeDirectory(...parts);
  await scene.workspace.makeDirectory(...parts, key);
  const path = `${place}.${key}`;
  const code = `process.umask(0);require("node:net")
    .createServer((s) => s.on("error", () => {}).once("data", () => { ${reply} }))
    .listen(${JSON.stringify(path)})`;
  const node = join(scene.installation.walarc, "../../node_modules/.bin/node");
  const child = spawn(node, ["-e", code], {
    ...(process.getuid?.() === 0 ? { uid: owner.uid, gid: owner.gid } : {}),
    stdio: "ignore",
  });
  await eventually("it listens", () => existsSync(path));
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await once(child, "exit");
      for (const left of [place, path]) await rm(left, { recursive: true, force: true });
    },
  };
}
