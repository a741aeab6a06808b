import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Authority, LOCAL_NAMES } from "../support/certificates.ts";
import { runCommand } from "../support/child.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { digestOf } from "../support/memory-archive.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const TOKEN = "walarc_primary_0123456789abcdef";
const PASSWORD = "p4ssw0rd-of-the-standby";

/** A user of this host who has no business with the archive. */
const NOBODY = { uid: 65_534, gid: 65_534, name: "nobody", home: "/" };

let scene: FaultScene;
let umask: number;
reportLogsOf(() => scene);
beforeAll(async () => {
  scene = await FaultScene.open();
});
afterAll(() => scene[Symbol.asyncDispose]());
// Children have it from us.
beforeEach(() => {
  umask = process.umask(0);
});
afterEach(() => void process.umask(umask));

const SEGMENT = makeSegment({ number: 7, segmentSizeBytes: MIB });

async function push(daemon: WalarcDaemon): Promise<void> {
  const path = scene.workspace.path(SEGMENT.name);
  await scene.workspace.writeFile(path, SEGMENT.bytes, 0o600);
  expect(await scene.walarc(["push", path], { server: daemon.url })).toMatchObject({ status: 0 });
}

async function daemonWithSpool(more = ""): Promise<[WalarcDaemon, string]> {
  const spool = await scene.workspace.makeDirectory(`spool${(spools += 1)}`);
  const moreConfig = `${more}[[spool]]\npath = "${spool}"\ncluster = "main"\n`;
  return [await scene.daemon({ moreConfig, listen: "127.0.0.1:0" }), spool];
}
let spools = 0;

test("nothing is made that others may open, whatever the umask", async () => {
  const [daemon, spool] = await daemonWithSpool();
  await push(daemon);
  await scene.workspace.writeFile(join(spool, "notes.txt"), "x");
  await eventually("it is set aside", () => readdirSync(spool).join() === "rejected");
  const made = [daemon.storeDirectory, join(spool, "rejected")].flatMap((directory) => {
    const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
    return [directory, ...names.map((name) => join(directory, name))];
  });
  const open = made.filter((path) => {
    // What a probe has written may be gone again.
    const status = lstatSync(path, { throwIfNoEntry: false });
    const isPutThere = path.endsWith("notes.txt");
    if (status === undefined || isPutThere || status.isSymbolicLink()) return false;
    return (status.mode & 0o077) !== 0;
  });
  expect(made.length).toBeGreaterThan(5);
  expect(open).toEqual([]);
  expect(lstatSync(daemon.socketPath).mode & 0o777).toBe(0o660);
});

test("another user of the host gets at nothing", async ({ skip }) => {
  if (process.getuid?.() !== 0) skip("only root can be somebody else");
  const [daemon] = await daemonWithSpool();
  await push(daemon);
  const surroundings = { account: NOBODY, cwd: "/", env: { PATH: "/usr/bin:/bin" } };
  const tried = async (...command: string[]) =>
    (await runCommand("/usr/bin/env", command, surroundings)).status;
  expect(await tried("cat", daemon.objectFile(SEGMENT.name))).not.toBe(0);
  expect(await tried("ls", daemon.storeDirectory)).not.toBe(0);
  expect(await tried("cat", `/proc/${daemon.pid}/environ`)).not.toBe(0);
  const curl = ["curl", "--silent", "--fail", "--unix-socket", daemon.socketPath];
  expect(await tried(...curl, "http://localhost/v1/clusters")).not.toBe(0);
  expect(await tried("touch", join(daemon.storeDirectory, "x"))).not.toBe(0);
  expect((await daemon.get("/readyz")).status).toBe(200);
});

test("secrets stand in no log, at the lowest level, in no metric and on no command line", async () => {
  using authority = new Authority();
  const { cert, key } = authority.issue({ names: LOCAL_NAMES });
  const { workspace } = scene;
  const files = {
    cert_file: await workspace.writeFile(workspace.path("crt"), cert),
    key_file: await workspace.writeFile(workspace.path("key"), key, 0o600),
  };
  const lines = Object.entries(files).map(([name, path]) => `${name} = "${path}"`);
  const sha256 = digestOf(Buffer.from(TOKEN));
  const rights = 'name = "primary"\nclusters = ["*"]\nscopes = ["push"]\n';
  const conninfo = `host=127.0.0.1 port=1 user=x password=${PASSWORD}`;
  const [daemon] = await daemonWithSpool(`[server.tls]\n${lines.join("\n")}
[log]
level = "trace"
[[tokens]]
sha256 = "${sha256}"
${rights}
[clusters.main.retention]
interval = "1s"
[clusters.main.standbys.s1]
conninfo = "${conninfo}"
`);
  await push(daemon);
  const places = ["/metrics", "/", "/v1/clusters/main", "/v1/clusters/main/standbys", "/readyz"];
  const pages: string[] = [];
  for (const path of places) pages.push((await daemon.get(path)).body.toString());
  await tell(daemon, `/v1/clusters/${TOKEN}/wal/${TOKEN}?token=${TOKEN}`);
  await eventually("the standby was asked in vain", () => daemon.log().includes("restart point"));
  daemon.hangUp();
  await eventually("it is reloaded", () => daemon.log().includes("configuration reloaded"));
  const command = readFileSync(`/proc/${daemon.pid}/cmdline`, "utf8");
  const secretOfKey = key.split("\n")[1] ?? "";
  for (const text of [daemon.log(), command, ...pages]) {
    for (const secret of [TOKEN, PASSWORD, secretOfKey]) expect(text).not.toContain(secret);
  }
});

/** Says a token wherever it does not belong. */
function tell(daemon: WalarcDaemon, path: string): Promise<void> {
  const authorization = `Bearer ${TOKEN}`;
  const headers = { authorization, "x-token": TOKEN, cookie: `token=${TOKEN}`, referer: TOKEN };
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: daemon.socketPath, path, headers, agent: false });
    asked.once("error", reject).once("response", (response) => {
      response.resume().once("end", () => resolve());
    });
    asked.end();
  });
}
