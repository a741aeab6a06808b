import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { apiDocument, requireDocumented, undocumented } from "../support/api-check.ts";
import { HttpScene } from "../support/http-scene.ts";

const NAME = "000000010000000000000001";
const TOKEN = {
  name: "reader",
  // Of "secret".
  sha256: "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
  clusters: ["main"],
  scopes: ["push"] as const,
};

describe("the document", () => {
  let scene: HttpScene;
  beforeEach(async () => {
    scene = await HttpScene.open();
  });
  afterEach(() => scene[Symbol.asyncDispose]());

  test("tells of every request that the contract names, and of no others", async () => {
    const { paths } = await apiDocument();
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods)
        .filter((method) => method !== "head")
        .map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations.sort()).toEqual(
      [
        "PUT /v1/clusters/{cluster}/wal/{name}",
        "POST /v1/clusters/{cluster}/wal/{name}",
        "GET /v1/clusters/{cluster}/wal/{name}",
        "GET /v1/clusters/{cluster}/wal",
        "GET /v1/clusters",
        "GET /v1/clusters/{cluster}",
        "GET /v1/clusters/{cluster}/standbys",
        "GET /v1/clusters/{cluster}/standbys/{name}",
        "PUT /v1/clusters/{cluster}/standbys/{name}",
        "DELETE /v1/clusters/{cluster}/standbys/{name}",
        "GET /v1/clusters/{cluster}/holds",
        "GET /v1/clusters/{cluster}/holds/{name}",
        "PUT /v1/clusters/{cluster}/holds/{name}",
        "DELETE /v1/clusters/{cluster}/holds/{name}",
        "POST /v1/clusters/{cluster}/prune",
        "GET /metrics",
        "GET /healthz",
        "GET /readyz",
        "GET /openapi.json",
        "GET /",
      ].sort(),
    );
  });

  test("is OpenAPI 3.1 with unique operation ids and every path parameter", async () => {
    const { openapi, paths } = await apiDocument();
    expect(openapi).toBe("3.1.0");
    const ids = Object.values(paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path, methods] of Object.entries(paths)) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const { parameters = [] } of Object.values(methods)) {
        const told = parameters.filter((parameter) => parameter.in === "path");
        expect(told.map(({ name }) => name)).toEqual(named);
      }
    }
  });

  test("over TCP leaves out what only the socket offers", async () => {
    const over = async (listener: "tcp" | "unix") => {
      const { body } = await scene.ask({ path: "/openapi.json", over: listener });
      const { paths } = JSON.parse(body.toString()) as Awaited<ReturnType<typeof apiDocument>>;
      return Object.keys(paths["/v1/clusters/{cluster}/wal/{name}"] ?? {}).sort();
    };
    expect(await over("tcp")).toEqual(["get", "head", "put"]);
    expect(await over("unix")).toEqual(["get", "head", "post", "put"]);
  });

  test("finds an answer out that is not as it says", async () => {
    const document = await apiDocument();
    const path = `/v1/clusters/main/wal/${NAME}`;
    const sha256 = "0".repeat(64);
    const body = { outcome: "archived", name: NAME, sha256, sizeBytes: 1 };
    const pushed = (changes: object, headers: Record<string, string> = {}) => ({
      method: "PUT",
      path,
      status: 201,
      headers: { "content-type": "application/json", "walarc-sha256": sha256, ...headers },
      body: Buffer.from(JSON.stringify({ ...body, ...changes })),
    });
    expect(undocumented(document, pushed({}))).toBeUndefined();
    expect(undocumented(document, pushed({ extra: 1 }))).toMatch(/additional/);
    expect(undocumented(document, pushed({ sizeBytes: "1" }))).toMatch(/integer/);
    expect(undocumented(document, pushed({ name: "../etc/passwd" }))).toMatch(/pattern/);
    const bare = { ...pushed({}), headers: { "content-type": "application/json" } };
    expect(undocumented(document, bare)).toMatch(/walarc-sha256 is missing/);
    expect(undocumented(document, { ...pushed({}), status: 206 })).toMatch(/no such operation/);
    const html = pushed({}, { "content-type": "text/html" });
    expect(undocumented(document, { ...html, status: 404 })).toMatch(/problem\+json/);
    const lie = { ...html.headers, "content-type": "application/problem+json" };
    const problem = Buffer.from(JSON.stringify({ status: 500, code: "bug", detail: "x" }));
    expect(undocumented(document, { ...html, headers: lie, body: problem, status: 404 })).toMatch(
      /says 500/,
    );
  });
});

test("the document is for readers", async () => {
  await using scene = await HttpScene.open({ tokens: [{ ...TOKEN, scopes: ["push"] }] });
  const asked = (authorization?: string) =>
    scene.ask({
      path: "/openapi.json",
      headers: authorization === undefined ? {} : { authorization },
    });
  expect((await asked()).status).toBe(401);
  expect((await asked("Bearer secret")).status).toBe(403);
});

test("what is asked in the tests is held to the document", async () => {
  const body = Buffer.from('{"ready":true,"surprise":1}');
  const headers = { "content-type": "application/json" };
  const answer = { method: "GET", path: "/readyz", status: 200, headers, body };
  await expect(requireDocumented(answer)).rejects.toThrow(/not as documented.*surprise/);
});
