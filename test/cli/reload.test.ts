import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ClientScene } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { digestOf } from "../support/memory-archive.ts";
import { makeSegment, MIB, type MadeFile } from "../support/wal-maker.ts";

/** Segments of 1 MB. */
function segment(number: number): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB });
}

function token(name: string, scopes = '["push", "read"]'): string {
  const sha256 = digestOf(Buffer.from(`walarc_${name}`));
  const lines = [`name = "${name}"`, `sha256 = "${sha256}"`, 'clusters = ["*"]'];
  return `[[tokens]]\n${lines.join("\n")}\nscopes = ${scopes}\n`;
}

let scene: ClientScene;
let daemon: WalarcDaemon;
beforeAll(async () => {
  scene = await ClientScene.create();
});
afterAll(() => scene[Symbol.asyncDispose]());
beforeEach(async () => {
  const { workspace, installation } = scene;
  const name = scene.newPath().split("/").at(-1) ?? "";
  const listen = "127.0.0.1:0";
  const moreConfig = token("old");
  const options = { workspace, installation, name: `d${name}`, listen, moreConfig };
  daemon = await WalarcDaemon.prepare(options);
  await daemon.start();
});
afterEach(() => daemon[Symbol.asyncDispose]());

/** Resolves when the daemon has said so often how a reload ended. */
async function reloaded(message = "configuration reloaded", times = 1): Promise<void> {
  const count = () => daemon.logLines().filter(({ msg }) => msg === message).length;
  await eventually(message, () => count() >= times, { evidence: () => daemon.logTail() });
}

async function reload(moreConfig: string): Promise<void> {
  const before = daemon.logLines().filter(({ msg }) => msg === "configuration reloaded").length;
  await daemon.configure(moreConfig);
  daemon.hangUp();
  await reloaded("configuration reloaded", before + 1);
}

/** Over TCP; on one connection with an agent that keeps it. */
async function push(
  file: MadeFile,
  name: string,
  options: { agent?: Agent } = {},
): Promise<number> {
  const { port } = new URL(daemon.tcpUrl);
  const asked = request({
    host: "127.0.0.1",
    port,
    method: "PUT",
    path: walPath(file),
    headers: { authorization: `Bearer walarc_${name}`, "content-length": file.bytes.length },
    ...options,
  });
  asked.end(file.bytes);
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return response.statusCode ?? 0;
}

async function metric(name: string): Promise<number> {
  const page = (await daemon.get("/metrics")).body.toString();
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(page)?.[1]);
}

test("tokens change under load without one failed push", async () => {
  const stop = new AbortController();
  let [token_, number] = ["old", 0];
  const statuses: number[] = [];
  const pusher = async () => {
    while (!stop.signal.aborted) statuses.push(await push(segment((number += 1)), token_));
  };
  const pushers = [pusher(), pusher(), pusher()];
  const pushed = (more: number) => {
    const least = statuses.length + more;
    return eventually("pushes go on", () => statuses.length >= least);
  };
  await pushed(5);
  await reload(token("old") + token("new"));
  token_ = "new";
  await pushed(5);
  await reload(token("new"));
  await pushed(5);
  stop.abort();
  await Promise.all(pushers);
  expect(new Set(statuses)).toEqual(new Set([201]));
  expect(await push(segment(1), "old")).toBe(401);
});

test("a revoked token opens nothing any more, at once and on an open connection", async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    expect(await push(segment(1), "old", { agent })).toBe(201);
    await reload(token("new"));
    expect(await push(segment(1), "old", { agent })).toBe(401);
    expect(await push(segment(1), "new", { agent })).toBe(200);
  } finally {
    agent.destroy();
  }
});

test("a file with mistakes keeps the old configuration and is told in one line", async () => {
  expect(await metric("walarc_config_last_reload_successful")).toBe(1);
  const loadedAt = await metric("walarc_config_last_reload_success_timestamp_seconds");
  await daemon.configure(`${token("new")}surprise = 1\n[log]\nlevel = "loud"\n`);
  daemon.hangUp();
  await reloaded("configuration not reloaded, the old one is kept");
  const lines = daemon.logLines().filter(({ level }) => level === "error");
  expect(lines).toHaveLength(1);
  expect(lines[0]?.["why"]).toMatch(/2 problems\n.*surprise.*\nlog\.level/s);
  expect(await push(segment(1), "old")).toBe(201);
  expect(await push(segment(2), "new")).toBe(401);
  expect(await metric("walarc_config_last_reload_successful")).toBe(0);
  expect(await metric("walarc_config_last_reload_success_timestamp_seconds")).toBe(loadedAt);
  await reload(token("new"));
  expect(await metric("walarc_config_last_reload_successful")).toBe(1);
});

test("a file is not taken before it has been written to its end", async () => {
  await daemon.configure("");
  daemon.hangUp();
  // Longer in all than the daemon waits, and never so long in between.
  for (let part = 0; part < 25; part += 1) {
    await delay(20);
    await daemon.configure(token(`part${part}`), { append: true });
  }
  await daemon.configure(token("old"), { append: true });
  await reloaded();
  expect(await push(segment(1), "old")).toBe(201);
  expect(daemon.logLines().filter(({ msg }) => msg === "configuration reloaded")).toHaveLength(1);
});

test("what needs a restart is named and stays, and the rest counts", async () => {
  const store = scene.newPath();
  await daemon.configure(token("new"), {
    change: (text) =>
      text
        .replace(/listen = .*/, 'listen = "127.0.0.1:1"')
        .replace(/path = .*/, `path = "${store}"`),
  });
  daemon.hangUp();
  await reloaded();
  const line = daemon.logLines().find(({ keys }) => keys !== undefined);
  expect(line).toMatchObject({ level: "warn", keys: ["server.listen", "store"] });
  expect(await push(segment(1), "new")).toBe(201);
});

test("the level of the log, standbys and retention change as well", async () => {
  await push(segment(1), "old");
  const standby = "[clusters.main.standbys.s1]\n";
  await reload(`${token("old")}[log]\nlevel = "debug"\n[clusters.main]\n${standby}`);
  await daemon.get("/v1/clusters/nobody");
  const refused = () =>
    daemon.logLines().some(({ level }) => level === "debug" || level === "warn");
  await eventually("there is a line", refused);
  expect(await standbys()).toEqual(["s1"]);
  const interval = 'interval = "1s"\n';
  await reload(`${token("old")}[clusters.main]\n[clusters.main.retention]\n${interval}`);
  expect(await standbys()).toEqual([]);
  const seconds = 'walarc_prune_interval_seconds{cluster="main"}';
  expect(await metric(seconds.replace(/[{}]/g, "\\$&"))).toBe(1);
});

async function standbys(): Promise<string[]> {
  const body = (await daemon.get("/v1/clusters/main/standbys")).body.toString();
  return (JSON.parse(body) as { standbys: { name: string }[] }).standbys.map(({ name }) => name);
}

test("clusters come and go, and one that is back has all it had", async () => {
  await push(segment(1), "old");
  await reload(`${token("old")}[clusters.other]\n`);
  expect((await daemon.get("/v1/clusters/main")).status).toBe(404);
  expect(await push(segment(2), "old")).toBe(404);
  await reload(`${token("old")}[clusters.main]\n`);
  expect(await push(segment(1), "old")).toBe(200);
  expect(await push(segment(2), "old")).toBe(201);
  expect((await daemon.get("/v1/clusters/other")).status).toBe(404);
});

test("spools come, change and go, and trouble with one makes the daemon unready", async () => {
  const path = scene.newPath();
  const spool = (more = "") =>
    `${token("old")}[[spool]]\npath = "${path}"\ncluster = "main"\n${more}`;
  await scene.workspace.makeDirectory(path.split("/").at(-1) ?? "");
  await reload(spool());
  await scene.workspace.writeFile(`${path}/${segment(7).name}`, segment(7).bytes);
  const isThere = async () => (await daemon.get(walPath(segment(7)))).status === 200;
  await eventually("it is archived", isThere);
  await reload(spool('settle = "1s"\n'));
  await reload(token("old"));
  await scene.workspace.writeFile(`${path}/${segment(8).name}`, segment(8).bytes);
  await delay(1500);
  expect((await daemon.get(walPath(segment(8)))).status).not.toBe(200);

  chmodSync(path, 0o000);
  await reload(spool());
  await eventually("it is unready", async () => (await daemon.get("/readyz")).status === 503);
  chmodSync(path, 0o700);
  const isReady = async () => (await daemon.get("/readyz")).status === 200;
  await eventually("it is ready again", isReady);
  await eventually(
    "it is archived",
    async () => (await daemon.get(walPath(segment(8)))).status === 200,
  );

  chmodSync(path, 0o777);
  const other = `${spool()}[[spool]]\npath = "${path}.2"\ncluster = "main"\n`;
  mkdirSync(`${path}.2`, { mode: 0o777 });
  chmodSync(`${path}.2`, 0o777);
  await daemon.configure(other);
  daemon.hangUp();
  await reloaded("configuration not reloaded, the old one is kept");
  rmSync(`${path}.2`, { recursive: true });
});

function walPath(file: MadeFile): string {
  return `/v1/clusters/main/wal/${file.name}`;
}

test("many signals at once do no harm", async () => {
  for (let count = 0; count < 20; count += 1) daemon.hangUp();
  await reloaded();
  expect(await push(segment(1), "old")).toBe(201);
});
