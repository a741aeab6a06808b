import { basename, join } from "node:path";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { Authority, LOCAL_NAMES } from "../support/certificates.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { makeSegment } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 3 });

/** With an address of 127.0.0.1 alone, `localhost` is another name. */
const SERVER_NAMES = "IP:127.0.0.1";

describe.each(RUNTIMES)("%s and a daemon that speaks TLS:", (runtime) => {
  let scene: ClientScene;
  let authority: Authority;
  let daemon: WalarcDaemon;
  let segmentFile: string;
  let url: string;
  let trust: string[];

  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    authority = new Authority();
    segmentFile = await write(SEGMENT.name, SEGMENT.bytes);
    daemon = await start("walarc", { names: SERVER_NAMES });
    url = daemon.tcpUrl.replace("http:", "https:");
    trust = ["--server", url, "--ca-file", await write("ca.crt", authority.cert)];
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    await scene[Symbol.asyncDispose]();
  });

  async function write(name: string, content: string | Buffer, mode = 0o644): Promise<string> {
    return await scene.workspace.writeFile(scene.workspace.path(name), content, mode);
  }

  async function start(
    name: string,
    wishes: { names: string; isExpired?: boolean },
  ): Promise<WalarcDaemon> {
    const { cert, key } = authority.issue(wishes);
    const tls = {
      cert_file: await write(`${name}.crt`, cert),
      key_file: await write(`${name}.key`, key, 0o600),
      client_ca_file: await write(`${name}.clients.crt`, authority.cert),
    };
    const { workspace, installation } = scene;
    const lines = Object.entries(tls).map(([key, path]) => `${key} = "${path}"`);
    const moreConfig = `[server.tls]\n${lines.join("\n")}
[[certificates]]
name = "db1"
clusters = ["main"]
scopes = ["push", "fetch"]
`;
    const listen = "127.0.0.1:0";
    const one = await WalarcDaemon.prepare({ workspace, installation, name, listen, moreConfig });
    await one.start();
    return one;
  }

  async function identity(commonName: string, from = authority): Promise<string[]> {
    const { cert, key } = from.issue({ commonName });
    const path = basename(scene.newPath());
    const files = [await write(`${path}.crt`, cert), await write(`${path}.key`, key, 0o600)];
    return ["--cert-file", files[0] as string, "--key-file", files[1] as string];
  }

  test("who shows the named certificate pushes and fetches", async () => {
    const own = await identity("db1");
    const pushed = await scene.run(["push", ...trust, ...own, segmentFile]);
    expect(pushed).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
    const { path, destination } = await scene.makeDataDirectory("standby");
    const args = ["fetch", ...trust, ...own, SEGMENT.name, destination];
    expect(await scene.run(args, { cwd: path })).toMatchObject({ status: 0, stderr: "" });
    expect((await readFile(join(path, destination))).equals(SEGMENT.bytes)).toBe(true);
    expect(daemon.logLines()).toContainEqual(
      expect.objectContaining({ msg: "pushed", caller: "db1", wal: SEGMENT.name }),
    );
  });

  test("without a certificate, with one nobody knows or vouches for, it is told why", async () => {
    using strangers = new Authority("strangers");
    for (const [own, why, hint] of [
      [[], "needs a certificate or token", "--cert-file"],
      [await identity("db2"), 'nobody knows the certificate "db2"', "[[certificates]]"],
      [await identity("db1", strangers), "is not accepted: ", "client_ca_file"],
    ] as const) {
      const { status, stderr } = await scene.run(["push", ...trust, ...own, segmentFile]);
      expect([status, stderr]).toEqual([FAILURES.denied.exit, expect.stringContaining(why)]);
      expect(stderr).toMatch(/\nhint: .*\n$/);
      expect(stderr).toContain(hint);
    }
  });

  test("a server that cannot be believed is told from one that is not there, with a hint", async () => {
    await using expired = await start("expired", { names: LOCAL_NAMES, isExpired: true });
    using strangers = new Authority("strangers");
    const ca = (path: string) => ["--ca-file", path];
    const mine = ca(scene.workspace.path("ca.crt"));
    for (const [server, trusted, why, hint] of [
      [url, [], "vouches for the server's certificate", "--ca-file"],
      [url, ca(await write("x.crt", strangers.cert)), "vouches for the server's", "--ca-file"],
      [url.replace("127.0.0.1", "localhost"), mine, "for another name", "subjectAltName"],
      [expired.tcpUrl.replace("http:", "https:"), mine, "has expired", "without a restart"],
    ] as const) {
      const args = ["push", "--server", server, "--timeout", "5", ...trusted, segmentFile];
      const { status, stderr } = await scene.run(args);
      expect([status, stderr]).toEqual([FAILURES.unreachable.exit, expect.stringContaining(why)]);
      expect(stderr.split("\nhint: ")[1] ?? "").toContain(hint);
    }
  });

  test("a client that speaks plain HTTP is told to write https", async () => {
    const server = url.replace("https:", "http:");
    const { status, stderr } = await scene.run(["push", "--server", server, segmentFile]);
    expect([status, stderr]).toEqual([FAILURES.usage.exit, expect.stringContaining("https://")]);
  });
});
