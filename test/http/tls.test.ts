import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { dnsNamesIn } from "../../src/http/client-certificate.ts";
import type { TlsFiles } from "../../src/http/key-pair.ts";
import type { TlsIdentity } from "../../src/http/tls-identity.ts";
import { Authority, type IssuedCertificate, LOCAL_NAMES } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { HttpScene, type HttpSceneOptions, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";
const WAL = `/v1/clusters/main/wal/${NAME}`;
const PUT = { method: "PUT", path: WAL, body: Buffer.from("body") };
const TOKEN = { authorization: "Bearer walarc_pusher" };

const SHA256 = digestOf(Buffer.from("walarc_pusher"));
const PUSH = { clusters: ["main"], scopes: ["push"] as const };
const TOKENS = [{ name: "pusher", sha256: SHA256, ...PUSH }];
const CERTIFICATES = [
  { name: "db1", ...PUSH },
  { name: "DB2.example.com", ...PUSH },
  { name: "reader", clusters: ["*"], scopes: ["fetch", "read"] as const },
];

let authority: Authority;
let others: Authority;
let server: IssuedCertificate;
let newer: IssuedCertificate;
let directory: string;
let files: TlsFiles;

beforeAll(() => {
  [authority, others] = [new Authority(), new Authority("somebody else")];
  [server, newer] = [1, 2].map(() => authority.issue({ names: LOCAL_NAMES })) as [
    IssuedCertificate,
    IssuedCertificate,
  ];
});
afterAll(() => {
  for (const one of [authority, others]) one[Symbol.dispose]();
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "walarc-tls-"));
  files = {
    certFile: write("server.crt", server.cert),
    keyFile: write("server.key", server.key, 0o600),
    clientCaFile: write("clients.crt", authority.cert),
  };
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, content: string, mode = 0o644): string {
  const path = join(directory, name);
  writeFileSync(path, content, { mode });
  return path;
}

const open = (options: HttpSceneOptions = {}): Promise<HttpScene> => {
  return HttpScene.open({ tls: files, tokens: TOKENS, certificates: CERTIFICATES, ...options });
};

/** Looks as often as the daemon needs to take what has come to rest. */
async function lookTwice(identity: TlsIdentity | undefined): Promise<void> {
  await identity?.look();
  await identity?.look();
}

describe("a client certificate", () => {
  test.each([
    ["its CN", { commonName: "db1" }, 201],
    ["a DNS name, in any case", { names: "DNS:x,DNS:db2.EXAMPLE.com" }, 201],
    ["a name without the right scope", { commonName: "reader" }, 403],
    ["a CN in other case", { commonName: "DB1" }, 403],
    ["an unknown name", { commonName: "db3" }, 403],
    ["two names", { commonName: "db1/CN=db2" }, 403],
    ["a mail address that looks like a name", { names: "email:DNS:db2.example.com@x" }, 403],
  ])("is known by %s, and by nothing else", async (_what, wishes, status) => {
    await using scene = await open();
    const own = authority.issue({ commonName: "nobody", ...wishes });
    const answer = await scene.ask({ ...PUT, tls: { ca: authority.cert, ...own } });
    expect(answer.status).toBe(status);
    if (status === 403) expect(problemOf(answer).hint).toMatch(/certificate/);
  });

  test("has the DNS names that it has, and none that others seem to hold", () => {
    const names = 'DNS:a.example.com, URI:"http://x/, DNS:b, \\"", DNS:"c, DNS:d", IP Address:::1';
    expect(dnsNamesIn(names)).toEqual(["a.example.com"]);
  });

  test.each([
    ["of another authority", () => others.issue({ commonName: "db1" }), /UNABLE_TO_VERIFY|ISSUER/],
    ["that has expired", () => authority.issue({ commonName: "db1", isExpired: true }), /EXPIRED/],
  ])("%s opens nothing, and the answer says why", async (_what, issue, why) => {
    await using scene = await open();
    const tls = { ca: authority.cert, ...issue() };
    const answer = await scene.ask({ ...PUT, tls });
    expect([answer.status, problemOf(answer).detail]).toEqual([401, expect.stringMatching(why)]);
    expect((await scene.ask({ ...PUT, tls, headers: TOKEN })).status).toBe(201);
    expect(await scene.logged("push refused")).toMatchObject({ status: 401, code: "denied" });
  });

  test("and a token may come together, and do what either may", async () => {
    await using scene = await open();
    const tls = { ca: authority.cert, ...authority.issue({ commonName: "reader" }) };
    expect((await scene.ask({ ...PUT, tls, headers: TOKEN })).status).toBe(201);
    expect((await scene.ask({ path: WAL, tls, headers: TOKEN })).status).toBe(200);
    expect((await scene.ask({ path: WAL, tls: { ca: authority.cert } })).status).toBe(401);
  });

  test("opens nothing any more on an open connection once its authority is replaced", async () => {
    await using scene = await open();
    const tls = { ca: authority.cert, ...authority.issue({ commonName: "db1" }) };
    using agent = disposable(new Agent({ ...tls, keepAlive: true, maxSockets: 1 }));
    const sockets = new Set<unknown>();
    const put = async (): Promise<number | undefined> => {
      const asked = request({ host: "127.0.0.1", port: scene.port, ...PUT, agent: agent.agent });
      asked.once("socket", (socket) => sockets.add(socket));
      asked.setHeader("content-length", 4).end("body");
      const [response] = (await once(asked, "response")) as [import("node:http").IncomingMessage];
      response.resume();
      await once(response, "end");
      return response.statusCode;
    };
    expect(await put()).toBe(201);
    expect(await put()).toBe(200);
    write("clients.crt", others.cert);
    await lookTwice(scene.tls);
    expect(await put()).toBe(401);
    expect(sockets.size).toBe(1);
  });
});

describe("the server's certificate", () => {
  test("is replaced while it serves, and no handshake fails for the time between the files", async () => {
    await using scene = await open();
    const shown = () => peerSerial(scene.port);
    const before = await shown();
    write("server.crt", newer.cert);
    await lookTwice(scene.tls);
    expect(await shown()).toBe(before);
    expect(scene.tls?.status.isCurrent).toBe(false);
    write("server.key", newer.key, 0o600);
    await lookTwice(scene.tls);
    expect(await shown()).not.toBe(before);
    expect(scene.tls?.status.isCurrent).toBe(true);
    expect(new Date(scene.tls?.status.expiresAtMs ?? 0).getFullYear()).toBe(2099);
    // It was soon mended, so nobody was alarmed.
    expect(scene.logLines.map(({ msg }) => msg)).toEqual(["TLS certificate replaced"]);
  });

  test("is not taken while it is being written", async () => {
    await using scene = await open();
    const before = await peerSerial(scene.port);
    write("server.key", newer.key, 0o600);
    write("server.crt", `${newer.cert}${authority.cert.slice(0, 200)}`);
    await lookTwice(scene.tls);
    expect(await peerSerial(scene.port)).toBe(before);
    write("server.crt", `${newer.cert}${authority.cert}`);
    await scene.tls?.look();
    expect(await peerSerial(scene.port)).toBe(before);
    await scene.tls?.look();
    expect(await peerSerial(scene.port)).not.toBe(before);
  });

  test.each([
    ["of another key", () => write("server.crt", newer.cert), /is not the key of/],
    ["that is gone", () => rmSync(files.certFile), /there is no such file/],
    ["that is none", () => write("server.crt", "x"), /holds no certificate/],
    ["whose key all may read", () => writeOpenKey(), /mode 0644/],
    ["whose key is none", () => write("server.key", "x", 0o600), /holds no private key/],
    ["that has expired", () => writeExpired(), /has expired/],
    ["with a client authority that is none", () => write("clients.crt", "x"), /no certificate/],
  ])("%s is refused with an alarm, and the old one is kept", async (_what, spoil, why) => {
    await using scene = await open();
    const before = await peerSerial(scene.port);
    spoil();
    await scene.tls?.reload(files);
    expect(await peerSerial(scene.port)).toBe(before);
    expect(scene.tls?.status.isCurrent).toBe(false);
    expect(scene.logLines).toEqual([
      expect.objectContaining({ level: "error", why: expect.stringMatching(why) as unknown }),
    ]);
  });

  test("must be usable at the start, but for its time", async () => {
    writeExpired();
    await using scene = await open();
    expect(scene.logLines[0]).toMatchObject({ level: "error", msg: "TLS certificate has expired" });
    writeOpenKey();
    await expect(open()).rejects.toMatchObject({ code: "usage" });
  });
});

describe("on a port that speaks TLS", () => {
  test("old versions of TLS, plain HTTP and noise are ended with a line in the log each", async () => {
    await using scene = await open();
    const old = connect({ port: scene.port, maxVersion: "TLSv1.1", minVersion: "TLSv1" });
    await once(old, "error");
    for (const words of ["GET / HTTP/1.1\r\n\r\n", "\u0016\u0003\u0001 noise and more noise"]) {
      const socket = connectPlain(scene.port, "127.0.0.1");
      socket.on("error", () => {}).write(words);
      socket.resume();
      await once(socket, "close");
    }
    await eventually("there are three lines", () => scene.logLines.length >= 3);
    expect(scene.logLines).toEqual(
      scene.logLines.map(() =>
        expect.objectContaining({
          level: "warn",
          msg: "TLS handshake failed",
          remote: "127.0.0.1",
        }),
      ),
    );
    expect(scene.logLines).toHaveLength(3);
    await expectOpen(scene);
  });

  test("a handshake that does not come is not waited for", async () => {
    await using scene = await open({ limits: { headDeadlineMs: 300 } });
    const socket = connectPlain(scene.port, "127.0.0.1");
    socket.on("error", () => {}).resume();
    await once(socket, "close");
    await expectOpen(scene);
  });

  test("silent connections give way to those who come later, and known ones do not", async () => {
    await using scene = await open({ limits: { connectionsMax: 4 } });
    const tls = { ca: authority.cert };
    using agent = disposable(new Agent({ ...tls, keepAlive: true, maxSockets: 1 }));
    const where = { host: "127.0.0.1", port: scene.port, agent: agent.agent, headers: TOKEN };
    const ask = async () => {
      const asked = request({ ...where, path: "/v1/clusters/main" }).end();
      const [response] = (await once(asked, "response")) as [import("node:http").IncomingMessage];
      response.resume();
      await once(response, "end");
      return asked.socket;
    };
    const first = await ask();
    const silent = Array.from({ length: 8 }, () => {
      return connectPlain(scene.port, "127.0.0.1").on("error", () => {});
    });
    const closed = () => silent.filter((socket) => socket.resume().closed).length;
    await eventually("the oldest gave way", () => closed() >= 5);
    expect(await ask()).toBe(first);
    for (const socket of silent) socket.destroy();
  });

  test("a stop lets the request under way end, and its connection with it", async () => {
    await using scene = await open();
    const { promise: taken, resolve: take } = Promise.withResolvers<void>();
    let isUnderWay = false;
    scene.archive.beforePush = () => {
      isUnderWay = true;
      return taken;
    };
    const answer = scene.ask({ ...PUT, tls: { ca: authority.cert }, headers: TOKEN });
    await eventually("the push is under way", () => isUnderWay);
    const stopped = scene.stop();
    take();
    expect((await answer).status).toBe(201);
    await stopped;
  });
});

async function expectOpen(scene: HttpScene): Promise<void> {
  const answer = await scene.ask({ ...PUT, tls: { ca: authority.cert }, headers: TOKEN });
  expect(answer.status).toBe(201);
}

/** Whom a new connection meets. */
async function peerSerial(port: number): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, ca: authority.cert });
  await once(socket, "secureConnect");
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

function writeOpenKey(): void {
  rmSync(files.keyFile);
  write("server.key", server.key, 0o644);
}

function writeExpired(): void {
  const expired = authority.issue({ names: LOCAL_NAMES, isExpired: true });
  write("server.crt", expired.cert);
  write("server.key", expired.key, 0o600);
}

function disposable(agent: Agent): { agent: Agent } & Disposable {
  return { agent, [Symbol.dispose]: () => agent.destroy() };
}
