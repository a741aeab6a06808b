import { expect, test } from "vitest";
import type { Token } from "../../src/http/auth.ts";
import { HttpScene, Wire } from "../support/http-scene.ts";
import { digestOf } from "../support/memory-archive.ts";

const NAME = "000000010000000A000000FF";

/** Sent as it stands: clients would tidy it up. */
async function statusOf(
  scene: HttpScene,
  { method, target, headers = "" }: { method: string; target: string; headers?: string },
): Promise<[status: number, code: string | undefined]> {
  using wire: Wire = await scene.wire();
  const length = method === "PUT" ? "content-length: 4\r\n" : "";
  const start = `${method} ${target} HTTP/1.1\r\nhost: x\r\n`;
  const head = `${start}${length}${headers}connection: close\r\n\r\n`;
  await wire.say(method === "PUT" ? `${head}body` : head);
  const status = await wire.answered();
  await wire.closed();
  return [status, /"code":"([a-z-]+)"/.exec(wire.text)?.[1]];
}

/** Spellings of the name that are not the name. */
const BAD_FILES = [
  NAME.toLowerCase(),
  `${NAME.slice(0, -2)}ff`,
  NAME.slice(1),
  `${NAME}0`,
  `%30${NAME.slice(1)}`,
  `${NAME.slice(0, -1)}%46`,
  `${NAME}%00`,
  `${NAME}%2f`,
  `${NAME}%`,
  `${NAME}%zz`,
  `${NAME}%0d%0aX:y`,
  `${NAME}#x`,
  `${NAME};x`,
  `${NAME}.`,
  `${NAME}.PARTIAL`,
  `${NAME}.tmp`,
  `${NAME}.gz`,
  `${NAME}.backup`,
  `${NAME}.0000002.backup`,
  "..",
  ".",
  "..%2f..%2fetc%2fpasswd",
  "%2e%2e%2f%2e%2e%2fcluster.json",
  "..\\..\\x",
  "00000000.history",
  "0000000G.history",
  "00000002.history%20",
  "0".repeat(8000),
  "%ff%fe",
];

const BAD_CLUSTERS = [
  "",
  "Main",
  "MAIN",
  "m%61in",
  "%6dain",
  "main%2f",
  "main%00",
  "main.",
  "main%20",
  ".",
  "..",
  "%2e%2e",
  "..%2fmain",
  "-main",
  "_main",
  "main;",
  "main#",
  "m%c3%a4in",
  "a".repeat(64),
];

test.each(["GET", "PUT", "HEAD"])(
  "%s takes no other spelling of a WAL file's name",
  async (method) => {
    await using scene = await HttpScene.open();
    for (const name of BAD_FILES) {
      const target = `/v1/clusters/main/wal/${name}`;
      const [status, code] = await statusOf(scene, { method, target });
      expect([target, status, code]).toEqual([
        target,
        422,
        method === "HEAD" ? undefined : "rejected",
      ]);
    }
    expect(scene.archive.files.get("main")?.size).toBe(0);
  },
);

test.each(["GET", "PUT"])("%s takes no other spelling of a cluster's name", async (method) => {
  await using scene = await HttpScene.open();
  for (const cluster of BAD_CLUSTERS) {
    const target = `/v1/clusters/${cluster}/wal/${NAME}`;
    expect([target, ...(await statusOf(scene, { method, target }))]).toEqual([
      target,
      400,
      "usage",
    ]);
  }
  expect([...scene.archive.files.keys()]).toEqual(["main"]);
});

test("bytes that no URL has are not HTTP", async () => {
  await using scene = await HttpScene.open();
  for (const method of ["GET", "PUT"]) {
    const target = `/v1/clusters/main/wal/${NAME}\u00ff`;
    expect(await statusOf(scene, { method, target })).toEqual([400, "usage"]);
  }
});

test("other targets are usage errors, and never absent", async () => {
  await using scene = await HttpScene.open();
  scene.archive.files.get("main")?.set(NAME, Buffer.from("body"));
  for (const target of [
    "/nothing",
    "//v1/clusters/main",
    "/v1//clusters/main",
    "/v1/clusters/",
    `/v1/clusters/main/wal/`,
    `/v1/clusters/main/wal/${NAME}/`,
    `/v1/clusters/main/wal/${NAME}/x`,
    `/v1/clusters/main/wal/../../../../etc/passwd`,
    `/v1/clusters/main/wal/x/../${NAME}`,
    `/v1/clusters/../clusters/main/wal/${NAME}`,
    `/V1/clusters/main/wal/${NAME}`,
    `/v1/Clusters/main/wal/${NAME}`,
    `/v1/%63lusters/main/wal/${NAME}`,
    `/v1/clusters%2fmain/wal/${NAME}`,
    `/v1/clusters/main/wal%2f${NAME}`,
    `/v1/clusters/main/%77al/${NAME}`,
    `/v2/clusters/main/wal/${NAME}`,
    "/%",
    "/../../etc/passwd",
    "/metrics/",
    "/METRICS",
  ]) {
    for (const method of ["GET", "PUT"]) {
      const [status, code] = await statusOf(scene, { method, target });
      expect([method, target, code]).not.toContain("absent");
      expect([400, 404, 405, 422]).toContain(status);
      expect(["usage", "rejected"]).toContain(code);
    }
  }
  expect(scene.archive.files.size).toBe(1);
});

test("a known path with another method is 405 and tells the right ones", async () => {
  await using scene = await HttpScene.open();
  for (const [method, path] of [
    ["DELETE", `/v1/clusters/main/wal/${NAME}`],
    ["PATCH", `/v1/clusters/main/wal/${NAME}`],
    ["PROPFIND", `/v1/clusters/main/wal/${NAME}`],
    ["OPTIONS", `/v1/clusters/main/wal/${NAME}`],
    ["PUT", "/v1/clusters/main"],
    ["TRACE", "/metrics"],
    ["POST", "/"],
  ] as const) {
    const answer = await scene.ask({ method, path });
    expect([path, answer.status]).toEqual([path, 405]);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ code: "usage" });
    expect(answer.headers.allow).toContain("GET");
  }
});

test("the absolute form of a target, which proxies send, means the same", async () => {
  await using scene = await HttpScene.open();
  const target = `http://archive.example/v1/clusters/main/wal/${NAME}`;
  expect(await statusOf(scene, { method: "PUT", target })).toEqual([201, undefined]);
});

test("no spelling of a foreign cluster lets a token in", async () => {
  const token: Token = {
    name: "x",
    sha256: digestOf(Buffer.from("walarc_x")),
    clusters: ["x"],
    scopes: ["push", "fetch", "read"],
  };
  await using scene = await HttpScene.open({ tokens: [token] });
  scene.archive.files.get("main")?.set(NAME, Buffer.from("kept"));
  const headers = "authorization: Bearer walarc_x\r\n";
  const inside = [
    ...BAD_CLUSTERS,
    "main",
    "x%2f..%2fmain",
    "x/../main",
    "x/wal/../../main",
    "./main",
  ];
  for (const cluster of inside) {
    for (const method of ["PUT", "GET"]) {
      const target = `/v1/clusters/${cluster}/wal/${NAME}`;
      const [status, code] = await statusOf(scene, { method, target, headers });
      expect([target, [400, 403, 404, 422].includes(status)]).toEqual([target, true]);
      expect(code).not.toBe("absent");
    }
  }
  expect(scene.archive.files.get("main")?.get(NAME)?.toString()).toBe("kept");
  expect([...scene.archive.files.keys()]).toEqual(["main"]);
});
