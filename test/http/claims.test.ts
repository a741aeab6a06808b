import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Scope, Token } from "../../src/http/auth.ts";
import { segmentText, segmentTexts, Stage } from "../retention/stage.ts";
import { type Answer, HttpScene, problemOf } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const CLUSTER = "/v1/clusters/main";
const SCOPES: readonly Scope[] = ["push", "fetch", "report", "read", "admin"];

function token(name: string, clusters: string[], ...scopes: Scope[]): Token {
  return { name, sha256: digestOf(Buffer.from(`walarc_${name}`)), clusters, scopes };
}

const TOKENS = [
  ...SCOPES.map((scope) => token(scope, ["main"], scope)),
  token("elsewhere", ["other"], ...SCOPES),
];

let stage: Stage;
let scene: HttpScene;

beforeEach(async () => {
  stage = await Stage.open({ policy: { keepBackups: 0 }, standbys: ["s2"] });
  await stage.pushSegments(1, 9);
  scene = await HttpScene.open({ tokens: TOKENS });
  scene.archive.claims = await stage.retention;
});
afterEach(async () => {
  await scene[Symbol.asyncDispose]();
  await stage[Symbol.asyncDispose]();
});

/** As the holder of a token with this scope, or over the unix socket. */
async function ask(
  method: string,
  path: string,
  options: { as?: string; body?: unknown } = {},
): Promise<Answer> {
  const { as, body } = options;
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  return scene.ask({
    method,
    path: CLUSTER + path,
    ...(text === undefined ? {} : { body: Buffer.from(text) }),
    ...(as === undefined
      ? { over: "unix" as const }
      : { headers: { authorization: `Bearer walarc_${as}` } }),
  });
}

function json(answer: Answer): unknown {
  return JSON.parse(answer.body.toString());
}

test.each(["PUT /standbys/s1", "PUT /holds/h", "POST /prune"])(
  "%s is refused at once where a body is announced that cannot be meant",
  async (question) => {
    const [method, path] = question.split(" ");
    using wire = await scene.wire("unix");
    const head = `${method} ${CLUSTER}${path} HTTP/1.1\r\nhost: x\r\n`;
    await wire.say(`${head}content-length: 5000000000\r\n\r\n{`);
    expect(await wire.answered()).toBe(413);
    expect(wire.text).toContain("application/problem+json");
    expect(wire.text).toContain("the body is over 65536 bytes");
    await wire.closed();
  },
);

describe("restart points", () => {
  test("are put, shown, listed and forgotten", async () => {
    const put = await ask("PUT", "/standbys/s1", { body: { restartPoint: segmentText(4) } });
    const s1 = {
      name: "s1",
      restartPoint: segmentText(4),
      reportedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      stale: false,
      source: "report",
      heldBytes: 6 * 1024 * 1024,
    };
    expect([put.status, json(put)]).toEqual([200, s1]);
    expect(json(await ask("GET", "/standbys/s1"))).toEqual(s1);
    expect(json(await ask("GET", "/standbys"))).toEqual({
      standbys: [
        s1,
        {
          name: "s2",
          restartPoint: null,
          reportedAt: null,
          stale: false,
          source: "report",
          heldBytes: 9 * 1024 * 1024,
          problem: "it was never heard from",
        },
      ],
    });
    expect((await ask("DELETE", "/standbys/s1")).status).toBe(204);
    for (const method of ["GET", "DELETE"]) {
      const answer = await ask(method, "/standbys/s1");
      expect([answer.status, problemOf(answer).code]).toEqual([404, "absent"]);
    }
  });

  test.each([
    ["s1", '{"restartPoint":"000000000000000000000000"}', 422, "rejected"],
    ["s1", '{"restartPoint":"00000001000000000000000G"}', 422, "rejected"],
    ["s1", `{"restartPoint":"${segmentText(74)}"}`, 422, "rejected"],
    ["s1", '{"restartPoint":7}', 400, "usage"],
    ["s1", '{"restartPoint":"000000010000000000000001","x":1}', 400, "usage"],
    ["s1", "{}", 400, "usage"],
    ["s1", "", 400, "usage"],
    ["s1", "[]", 400, "usage"],
    ["s1", "{", 400, "usage"],
    ["s1", `{"restartPoint":"${"0".repeat(70_000)}"}`, 413, "usage"],
    ["S1", '{"restartPoint":"000000010000000000000001"}', 400, "usage"],
    ["%2e%2e", '{"restartPoint":"000000010000000000000001"}', 400, "usage"],
    ["a%2fb", '{"restartPoint":"000000010000000000000001"}', 400, "usage"],
    ["x".repeat(101), '{"restartPoint":"000000010000000000000001"}', 400, "usage"],
  ])("of %s with %s are refused with %i %s", async (name, body, status, code) => {
    const answer = await ask("PUT", `/standbys/${name}`, { body });
    expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
    expect((await stage.status()).claims.map((claim) => claim.name)).toEqual(["s2"]);
  });
});

describe("holds", () => {
  test("are put, shown, listed and removed", async () => {
    const until = new Date(Date.now() + 60_000).toISOString();
    const put = await ask("PUT", "/holds/h", { body: { from: segmentText(3), until } });
    const h = { name: "h", from: segmentText(3), until };
    expect([put.status, json(put)]).toEqual([200, h]);
    const g = { name: "g", from: segmentText(2), until: null };
    expect(json(await ask("PUT", "/holds/g", { body: { from: g.from, until: null } }))).toEqual(g);
    expect(json(await ask("GET", "/holds"))).toEqual({ holds: [g, h] });
    expect(json(await ask("GET", "/holds/h"))).toEqual(h);
    expect((await ask("DELETE", "/holds/h")).status).toBe(204);
    for (const method of ["GET", "DELETE"]) {
      const answer = await ask(method, "/holds/h");
      expect([answer.status, problemOf(answer).code]).toEqual([404, "absent"]);
    }
  });

  test.each([
    ["h", { from: "x" }, 422, "rejected"],
    ["h", { until: null }, 400, "usage"],
    ["h", { from: segmentText(3), until: "tomorrow" }, 400, "usage"],
    ["h", { from: segmentText(3), until: "2030-01-01T00:00:00" }, 400, "usage"],
    ["h", { from: segmentText(3), until: "2020-01-01T00:00:00Z" }, 400, "usage"],
    ["h", { from: segmentText(3), until: "2030-02-31T00:00:00Z" }, 400, "usage"],
    ["h", { from: segmentText(3), until: 1 }, 400, "usage"],
    ["H", { from: segmentText(3) }, 400, "usage"],
  ])("%s with %j are refused with %i %s", async (name, body, status, code) => {
    const answer = await ask("PUT", `/holds/${name}`, { body });
    expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
  });
});

describe("a prune", () => {
  test("tells when dry exactly what a real one then removes, and who holds the rest", async () => {
    await stage.report("s1", 7);
    await stage.report("s2", 5);
    const expected = {
      horizon: segmentText(5),
      heldBy: [{ kind: "standby", name: "s2" }],
      explanation: expect.stringContaining('standby "s2"'),
      removeFiles: 4,
      removeBytes: 4 * 1024 * 1024,
      ranges: [{ first: segmentText(1), last: segmentText(4), segments: 4 }],
      remove: segmentTexts(1, 4),
    };
    const dry = await ask("POST", "/prune", { body: { dryRun: true } });
    expect([dry.status, json(dry)]).toEqual([200, { dryRun: true, ...expected }]);
    expect(dry.headers["content-type"]).toMatch(/^application\/json/);
    expect(await stage.stored()).toHaveLength(9);
    const real = await ask("POST", "/prune");
    expect([real.status, json(real)]).toEqual([200, { dryRun: false, ...expected }]);
    expect(await stage.stored()).toEqual(segmentTexts(5, 9));
    expect(json(await ask("POST", "/prune"))).toMatchObject({ remove: [], removeBytes: 0 });
  });

  test("names nothing one by one when the ranges will do", async () => {
    await stage.report("s1", 7);
    await stage.report("s2", 5);
    const answer = json(await ask("POST", "/prune", { body: { dryRun: true, names: false } }));
    expect(answer).not.toHaveProperty("remove");
    expect(answer).toMatchObject({ removeFiles: 4 });
  });

  test.each(['{"dryRun":"yes"}', '{"dry_run":true}', "true", '{"dryRun":true'])(
    "of %s is refused and removes nothing",
    async (body) => {
      await stage.report("s2", 5);
      const answer = await ask("POST", "/prune", { body });
      expect([answer.status, problemOf(answer).code]).toEqual([400, "usage"]);
      expect(await stage.stored()).toHaveLength(9);
    },
  );
});

test("each scope opens its own doors, and none opens another cluster's", async () => {
  const restartPoint = segmentText(4);
  const doors: [string, string, unknown, Scope][] = [
    ["GET", "/standbys", undefined, "read"],
    ["PUT", "/standbys/s1", { restartPoint }, "report"],
    ["GET", "/standbys/s1", undefined, "read"],
    ["GET", "/holds", undefined, "read"],
    ["PUT", "/holds/h", { from: restartPoint }, "admin"],
    ["GET", "/holds/h", undefined, "read"],
    ["DELETE", "/holds/h", undefined, "admin"],
    ["DELETE", "/standbys/s1", undefined, "admin"],
    ["POST", "/prune", { dryRun: true }, "admin"],
  ];
  for (const [method, path, body, needed] of doors) {
    for (const as of [...SCOPES, "elsewhere"].filter((scope) => scope !== needed)) {
      const answer = await ask(method, path, { as, body });
      expect([method, path, as, answer.status]).toEqual([method, path, as, 403]);
    }
    expect((await ask(method, path, { as: "nobody", body })).status).toBe(401);
    const answer = await ask(method, path, { as: needed, body });
    expect([method, path, answer.status < 300]).toEqual([method, path, true]);
  }
});
