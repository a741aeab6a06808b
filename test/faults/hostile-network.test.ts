import { lstatSync, readdirSync } from "node:fs";
import { request } from "node:http";
import { request as requestTls } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AUTH,
  HTTP_ATTACKS,
  OTHER,
  PLACES,
  PUSHER,
  READER,
  SECRETS,
  SPELLINGS,
} from "../support/attacks.ts";
import { Authority, LOCAL_NAMES } from "../support/certificates.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { digestOf } from "../support/memory-archive.ts";
import { RawConnection, type Target } from "../support/raw-connection.ts";
import { makeSegment, MIB, type MadeFile } from "../support/wal-maker.ts";

/** A legitimate push ends within this, whatever else goes on. */
const DEADLINE_MS = 2000;

describe.each(["TCP", "TLS"])("over %s a legitimate push goes through", (transport) => {
  let scene: FaultScene;
  let authority: Authority;
  let daemon: WalarcDaemon;
  let target: Target;
  reportLogsOf(() => scene);

  beforeAll(async () => {
    scene = await FaultScene.open();
    authority = new Authority();
    const tokens = [
      table("pusher", PUSHER, '["main"]', '["push"]'),
      table("other", OTHER, '["other"]', '["push", "fetch", "read", "report", "admin"]'),
      table("reader", READER, '["*"]', '["fetch", "read"]'),
    ];
    const rules = "[server.tls]\n";
    const { cert, key } = authority.issue({ names: LOCAL_NAMES });
    const files = [await write("crt", cert), await write("key", key, 0o600)];
    const tls = `${rules}cert_file = "${files[0]}"\nkey_file = "${files[1]}"\n`;
    daemon = await scene.prepareDaemon({
      listen: '127.0.0.1:0"\nloopback_read = false #',
      moreConfig: `${transport === "TLS" ? tls : ""}${tokens.join("")}`,
    });
    await daemon.start();
    const port = Number(new URL(daemon.tcpUrl).port);
    const ca = transport === "TLS" ? { ca: authority.cert } : {};
    target = { host: "127.0.0.1", port, ...ca };
  });
  afterAll(async () => {
    authority[Symbol.dispose]();
    await scene[Symbol.asyncDispose]();
  });

  async function write(name: string, content: string, mode = 0o644): Promise<string> {
    return await scene.workspace.writeFile(scene.workspace.path(name), content, mode);
  }

  let number = 1;
  /** Resolves to the time that it took. */
  async function pushOne(): Promise<number> {
    const file = makeSegment({ number: (number += 1), segmentSizeBytes: MIB });
    const start = performance.now();
    expect(await put(target, file)).toBe(201);
    return performance.now() - start;
  }

  /** Runs the attack, pushes in the middle of it, and looks at what it left. */
  async function survive(attack: () => Promise<number | "any">): Promise<void> {
    const before = outside(scene.workspace.directory);
    const linesBefore = refusals(daemon).length;
    const lines = await attack();
    expect(await pushOne()).toBeLessThan(DEADLINE_MS);
    const count = () => refusals(daemon).length - linesBefore;
    if (lines !== "any") {
      await eventually(`there are ${lines} lines`, () => count() >= lines);
      expect(count()).toBe(lines);
    }
    expect(outside(scene.workspace.directory)).toEqual(before);
    for (const secret of SECRETS) expect(daemon.log()).not.toContain(secret);
  }

  test.each(HTTP_ATTACKS)("$what", async ({ connections, says, status, lines = 0 }) => {
    using held = new DisposableStack();
    await survive(async () => {
      const all = Array.from({ length: connections }, () => held.use(new RawConnection(target)));
      await Promise.all(all.map(({ opened }) => opened));
      for (const [at, one] of all.entries()) one.say(says(at));
      if (status !== undefined) {
        const isAnswered = () => all.every(({ statuses }) => statuses.length > 0);
        const evidence = () => all.map(({ answer }) => answer.slice(0, 60)).join("\n");
        await eventually("all are answered", isAnswered, { evidence });
        expect(new Set(all.flatMap(({ statuses }) => statuses))).toEqual(new Set([status]));
      }
      return lines === 1 ? connections : lines;
    });
    held.dispose();
    // Those that were under way end with a line of their own.
    await eventually("the log is quiet", async () => {
      const lines = daemon.logLines().length;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return daemon.logLines().length === lines;
    });
  });

  test("whatever the spelling of a path", async () => {
    const paths = [...SPELLINGS, ...PLACES.split(" ")];
    await survive(async () => {
      for (const path of paths) {
        using one = new RawConnection(target);
        one.say(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${PUSHER}\r\n\r\n`);
        await eventually(path, () => one.statuses.length > 0);
        expect([path, one.statuses[0] ?? 0]).toEqual([
          path,
          expect.toBeOneOf([400, 403, 404, 405]),
        ]);
      }
      return paths.length;
    });
  });

  test("and its token can add, but neither read nor replace nor remove", async () => {
    const wal = "/v1/clusters/main/wal";
    const name = makeSegment({ number: 900, segmentSizeBytes: MIB }).name;
    const first = makeSegment({ number: 900, segmentSizeBytes: MIB, seed: 1 });
    const second = makeSegment({ number: 900, segmentSizeBytes: MIB, seed: 2 });
    expect(await put(target, first)).toBe(201);
    const asked = [
      ...["GET", "HEAD", "DELETE", "PATCH", "POST"].map((method) => `${method} ${wal}/${name}`),
      ...["", "/main", "/main/wal", "/main/standbys", "/main/holds"].map(
        (path) => `GET /v1/clusters${path}`,
      ),
      ...["/metrics", "/openapi.json", "/"].map((path) => `GET ${path}`),
      ...["standbys/s", "holds/h"].flatMap((path) =>
        ["PUT", "DELETE"].map((method) => `${method} /v1/clusters/main/${path}`),
      ),
      "POST /v1/clusters/main/prune",
    ];
    await survive(async () => {
      for (const line of asked) {
        using one = new RawConnection(target);
        one.say(`${line} HTTP/1.1\r\n${AUTH}content-length: 2\r\n\r\n{}`);
        await eventually(line, () => one.statuses.length > 0);
        expect([line, one.statuses[0] ?? 0]).toEqual([line, expect.toBeOneOf([403, 404, 405])]);
        expect(one.answer).not.toContain(digestOf(first.bytes));
      }
      return asked.length;
    });
    expect(await put(target, second)).toBe(409);
    expect(await fetchDigest(daemon, name)).toBe(digestOf(first.bytes));
  });

  if (transport === "TLS") {
    test("while handshakes are begun and never ended", async () => {
      using held = new DisposableStack();
      const plain = { host: target.host, port: target.port };
      await survive(async () => {
        const all = Array.from({ length: 300 }, () => held.use(new RawConnection(plain)));
        await Promise.all(all.map(({ opened }) => opened));
        for (const one of all) one.say(Buffer.from("16030100c8010000c40303", "hex"));
        return 0;
      });
    });

    test("while handshakes fail", async () => {
      const plain = { host: target.host, port: target.port };
      await survive(async () => {
        const all = Array.from({ length: 50 }, () => new RawConnection(plain));
        await Promise.all(all.map(({ opened }) => opened));
        for (const one of all) one.say("this is no TLS, and never will be\r\n\r\n");
        await Promise.all(all.map(({ closed }) => closed));
        return 50;
      });
    });
  }
});

function table(name: string, secret: string, clusters: string, scopes: string): string {
  const sha256 = digestOf(Buffer.from(secret));
  const lines = [`name = "${name}"`, `sha256 = "${sha256}"`, `clusters = ${clusters}`];
  return `[[tokens]]\n${lines.join("\n")}\nscopes = ${scopes}\n`;
}

/** Lines about what was refused or failed. */
function refusals(daemon: WalarcDaemon): unknown[] {
  return daemon.logLines().filter(({ msg }) => /refused|failed/.test(String(msg)));
}

/** Everything in a directory that is neither in the store nor in a log, with its content's age. */
function outside(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => !/(^|\/)(store|log)(\/|$)/.test(path))
    .map((path) => `${path} ${lstatSync(join(directory, path)).mtimeMs}`)
    .sort();
}

function put({ host, port, ca }: Target, file: MadeFile): Promise<number> {
  const options = {
    host,
    port,
    method: "PUT",
    path: `/v1/clusters/main/wal/${file.name}`,
    agent: false,
    headers: { authorization: `Bearer ${PUSHER}`, "content-length": file.bytes.length },
  };
  return new Promise((resolve, reject) => {
    const asked = ca === undefined ? request(options) : requestTls({ ...options, ca });
    asked.once("error", reject);
    asked.once("response", (response) => {
      response.resume().once("end", () => resolve(response.statusCode ?? 0));
    });
    asked.end(file.bytes);
  });
}

async function fetchDigest(daemon: WalarcDaemon, name: string): Promise<string> {
  return digestOf((await daemon.get(`/v1/clusters/main/wal/${name}`)).body);
}
