import { describe, expect, test } from "vitest";
import {
  type Access,
  loopbackAccess,
  type Scope,
  type Token,
  tokenAccess,
} from "../../src/http/auth.ts";
import { HttpScene, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";
const WAL = `/v1/clusters/main/wal/${NAME}`;

function token(name: string, clusters: string[], ...scopes: Scope[]): Token {
  return { name, sha256: digestOf(Buffer.from(`walarc_${name}`)), clusters, scopes };
}

const TOKENS = [
  token("pusher", ["main"], "push"),
  token("fetcher", ["main"], "fetch"),
  token("reader", ["main"], "read"),
  token("everywhere", ["*"], "push", "fetch", "read"),
  token("elsewhere", ["other"], "push", "fetch", "read"),
];

const PUT = { method: "PUT", path: WAL, body: Buffer.from("body") };
const GET = { path: WAL };
const HEAD = { method: "HEAD", path: WAL };
const PAGE = { path: "/v1/clusters/main/wal" };
const STATUS = { path: "/v1/clusters/main" };

/** Statuses of PUT, GET, HEAD, page and status for each caller. */
const MATRIX: [caller: string | undefined, statuses: [number, number, number, number, number]][] = [
  [undefined, [401, 401, 401, 401, 401]],
  ["nobody", [401, 401, 401, 401, 401]],
  ["pusher", [200, 403, 403, 403, 403]],
  ["fetcher", [403, 200, 200, 403, 403]],
  ["reader", [403, 403, 403, 200, 200]],
  ["everywhere", [200, 200, 200, 200, 200]],
  ["elsewhere", [403, 403, 403, 403, 403]],
];

describe("over TCP", () => {
  test.each(MATRIX)("%s is answered with %j", async (caller, statuses) => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    scene.archive.files.get("main")?.set(NAME, PUT.body);
    const bearer: Record<string, string> =
      caller === undefined ? {} : { authorization: `Bearer walarc_${caller}` };
    const basic: Record<string, string> =
      caller === undefined
        ? { authorization: "Basic !" }
        : { authorization: `basic ${Buffer.from(`any:walarc_${caller}`).toString("base64")}` };
    for (const headers of [bearer, basic]) {
      for (const [index, question] of [PUT, GET, HEAD, PAGE, STATUS].entries()) {
        const answer = await scene.ask({ ...question, headers });
        expect([question, answer.status]).toEqual([question, statuses[index]]);
        if (answer.status < 400) continue;
        if (question !== HEAD) expect(problemOf(answer).code).toBe("denied");
        const challenge = answer.headers["www-authenticate"];
        if (answer.status === 401) expect(challenge).toMatch(/Bearer.*Basic/);
        else expect(challenge).toBeUndefined();
      }
    }
  });

  test("the unix socket asks for nothing", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    for (const question of [PUT, GET, PAGE, STATUS, { path: "/metrics" }, { path: "/" }]) {
      const answer = await scene.ask({ ...question, over: "unix" });
      expect([question.path, answer.status < 300]).toEqual([question.path, true]);
    }
  });

  test("health and readiness are open, and nothing else", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const statuses = new Map<string, number>();
    for (const path of ["/healthz", "/readyz", "/metrics", "/", "/v1/clusters", STATUS.path]) {
      statuses.set(path, (await scene.ask({ path })).status);
    }
    expect([...statuses.values()]).toEqual([200, 200, 401, 401, 401, 401]);
  });

  test("why the server is not ready is told to readers only", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    scene.readiness = { ready: false, reasons: [{ text: "/var/lib/secret is full" }] };
    for (const [caller, isTold] of [
      ["nobody", false],
      ["pusher", false],
      ["reader", true],
    ] as const) {
      const headers = { authorization: `Bearer walarc_${caller}` };
      const answer = await scene.ask({ path: "/readyz", headers });
      expect([answer.status, answer.body.toString().includes("secret")]).toEqual([503, isTold]);
    }
  });

  test("of a cluster that a reader may not read he learns no more than that there is trouble", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const reasons = [
      { text: "the disk is slow" },
      { text: "storage of main does not answer", cluster: "main" },
      { text: 'cluster "payroll" is still being read', cluster: "payroll" },
      { text: "/srv/payroll is gone", cluster: "payroll" },
    ];
    scene.readiness = { ready: false, reasons };
    const headers = { authorization: "Bearer walarc_reader" };
    const told = "the disk is slow; storage of main does not answer; another cluster is not ready";
    const answer = await scene.ask({ path: "/readyz", headers });
    expect(problemOf(answer).detail).toBe(`not ready: ${told}`);
    const page = await scene.ask({ path: "/", headers });
    expect(page.body.toString()).toContain(`Not ready: ${told}<`);
    expect(page.body.toString()).not.toContain("payroll");
    const everything = await scene.ask({ path: "/readyz", over: "unix" });
    expect(problemOf(everything).detail).toContain("/srv/payroll is gone");
  });

  test("denied pushes and fetches are counted and logged", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    await scene.ask(PUT);
    await scene.ask(GET);
    expect(await scene.metric('walarc_push_total{cluster="main",outcome="denied"}')).toBe(1);
    expect(await scene.metric('walarc_fetch_total{cluster="main",outcome="denied"}')).toBe(1);
    const line = await scene.logged("push refused");
    expect(line).toMatchObject({ level: "warn", code: "denied", status: 401, remote: "127.0.0.1" });
  });

  test.each([
    "walarc_pusher",
    "Bearer",
    "Bearer ",
    "Bearer walarc_pusher x",
    "Bearer walarc_pushe",
    "Bearer walarc_pusher2",
    "Bearer WALARC_PUSHER",
    `Bearer ${digestOf(Buffer.from("walarc_pusher"))}`,
    "Digest walarc_pusher",
    `Basic ${Buffer.from("walarc_pusher").toString("base64")}`,
    `Basic ${Buffer.from("walarc_pusher:").toString("base64")}`,
  ])("%j opens nothing", async (authorization) => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const answer = await scene.ask({ ...PUT, headers: { authorization } });
    expect(answer.status).toBe(401);
    expect(scene.archive.readBytes).toBe(0);
  });

  test("a token's text is nowhere in the log", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    const secret = "walarc_0123456789abcdefghij";
    const headers = { authorization: `Bearer ${secret}` };
    await scene.ask({ ...PUT, headers });
    await scene.ask({ path: `/v1/clusters/main/wal/${secret}?token=${secret}`, headers });
    await scene.ask({ path: `/${secret}` });
    await scene.logged("request refused");
    expect(JSON.stringify(scene.logLines)).not.toContain("0123456789abcdefghij");
  });
});

describe("on a loopback address", () => {
  const open = { tokens: TOKENS, loopbackRead: "open" } as const;

  test("reading is open to everybody, and nothing else", async () => {
    await using scene = await HttpScene.open(open);
    for (const [question, status] of [
      [STATUS, 200],
      [PAGE, 200],
      [{ path: "/v1/clusters" }, 200],
      [{ path: "/metrics" }, 200],
      [{ path: "/" }, 200],
      [GET, 401],
      [PUT, 401],
    ] as const) {
      expect([question, (await scene.ask(question)).status]).toEqual([question, status]);
    }
    const headers = { authorization: "Bearer walarc_pusher" };
    expect((await scene.ask({ ...STATUS, headers })).status).toBe(200);
    expect((await scene.ask({ ...GET, headers })).status).toBe(403);
  });

  test.each(["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])(
    "a request that came through a proxy (%s) is not local",
    async (name) => {
      await using scene = await HttpScene.open(open);
      const answer = await scene.ask({ ...STATUS, headers: { [name]: "127.0.0.1" } });
      expect(answer.status).toBe(401);
    },
  );

  test.each([
    ["127.0.0.1", true],
    ["127.8.9.10", true],
    ["::1", true],
    ["::ffff:127.0.0.1", true],
    ["10.0.0.1", false],
    ["::ffff:10.0.0.1", false],
    ["128.0.0.1", false],
    ["1127.0.0.1", false],
    ["::", false],
    ["fe80::1", false],
    ["2001:db8::127.0.0.1", false],
    ["", false],
    [undefined, false],
  ])("%s is local: %s", (remoteAddress, isLocal) => {
    const access = tokenAccess(TOKENS, { loopbackRead: "open" });
    const request = { headers: { host: "localhost" }, socket: { remoteAddress } };
    const caller = access.callerOf(request as unknown as Parameters<Access["callerOf"]>[0]);
    expect(caller.rights.length > 0).toBe(isLocal);
  });
});

describe("a page that a browser on this host shows", () => {
  const open = { tokens: TOKENS, loopbackRead: "open" } as const;

  test.each([
    ["127.0.0.1:8417", 200],
    ["127.0.0.1", 200],
    ["localhost:8417", 200],
    ["LOCALHOST", 200],
    ["[::1]:8417", 200],
    ["evil.example:8417", 401],
    ["127.0.0.1.evil.example", 401],
    ["localhost.evil.example", 401],
    ["127.0.0.1@evil.example", 401],
    ["evil.example:127.0.0.1", 401],
  ])("reads nothing by a name of its own that leads here (%s)", async (host, status) => {
    await using scene = await HttpScene.open(open);
    for (const path of [STATUS.path, "/metrics", "/", "/openapi.json"]) {
      expect((await scene.ask({ path, headers: { host } })).status).toBe(status);
    }
    const headers = { host, authorization: "Bearer walarc_reader" };
    expect((await scene.ask({ ...STATUS, headers })).status).toBe(200);
  });

  test("changes nothing either, where nobody is asked for anything", async () => {
    await using scene = await HttpScene.open();
    for (const method of ["PUT", "POST", "DELETE"]) {
      const headers = { origin: "http://evil.example", "content-type": "text/plain" };
      const path = "/v1/clusters/main/prune";
      const answer = await scene.ask({ method, path, headers, body: Buffer.from("{}") });
      expect([method, answer.status, problemOf(answer).code]).toEqual([method, 403, "denied"]);
    }
    const access = loopbackAccess();
    const callerOf = (host: string) =>
      access.callerOf({ headers: { host } } as unknown as Parameters<Access["callerOf"]>[0]);
    expect(callerOf("127.0.0.1:1").isKnown).toBe(true);
    for (const host of ["evil.example", ""]) expect(callerOf(host).rights).toEqual([]);
  });
});

describe("answers about all clusters", () => {
  test("show each token its own", async () => {
    await using scene = await HttpScene.open({ tokens: TOKENS });
    for (const cluster of ["main", "other"]) {
      const path = `/v1/clusters/${cluster}/wal/${NAME}`;
      await scene.ask({ ...PUT, path, headers: { authorization: "Bearer walarc_everywhere" } });
    }
    for (const [name, seen] of [
      ["reader", ["main"]],
      ["elsewhere", ["other"]],
      ["everywhere", ["main", "other"]],
    ] as const) {
      const headers = { authorization: `Bearer walarc_${name}` };
      const list = await scene.ask({ path: "/v1/clusters", headers });
      const { clusters } = JSON.parse(list.body.toString()) as { clusters: { cluster: string }[] };
      expect(clusters.map(({ cluster }) => cluster)).toEqual(seen);
      const metrics = (await scene.ask({ path: "/metrics", headers })).body.toString();
      const page = (await scene.ask({ path: "/", headers })).body.toString();
      for (const cluster of ["main", "other"]) {
        const isSeen = seen.some((name) => name === cluster);
        expect([cluster, metrics.includes(`cluster="${cluster}"`)]).toEqual([cluster, isSeen]);
        expect([cluster, page.includes(`<h2>${cluster}</h2>`)]).toEqual([cluster, isSeen]);
      }
      expect(metrics).toContain('walarc_build_info{version="1.2.3"} 1');
    }
  });
});
