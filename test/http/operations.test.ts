import { describe, expect, test } from "vitest";
import { HttpScene, problemOf } from "../support/http-scene.ts";

describe("health", () => {
  test("answers while a cluster hangs, and so do metrics and the others", async () => {
    await using scene = await HttpScene.open();
    scene.archive.files.set("sick", new Map());
    const hanging = () => new Promise<void>(() => {});
    scene.archive.beforeStatus = hanging;
    const sick = scene.ask({ path: "/v1/clusters/sick" });
    sick.catch(() => {}); // Nobody waits for it.
    for (const path of ["/healthz", "/readyz", "/metrics", "/v1/clusters/main"]) {
      const startedAt = performance.now();
      expect([path, (await scene.ask({ path })).status]).toEqual([path, 200]);
      expect(performance.now() - startedAt).toBeLessThan(1000);
    }
    const all = JSON.parse((await scene.ask({ path: "/v1/clusters" })).body.toString()) as object;
    expect(all).toEqual({
      clusters: [
        expect.objectContaining({ cluster: "main", stored: expect.anything() }),
        { cluster: "sick", problem: { code: "store-failed", detail: expect.any(String) } },
      ],
    });
    expect((await scene.ask({ path: "/" })).body.toString()).toContain("store-failed: ");
  });

  test("stays green when readiness is red", async () => {
    await using scene = await HttpScene.open();
    expect(await scene.ask({ path: "/readyz" })).toMatchObject({ status: 200 });
    scene.readiness = {
      ready: false,
      reasons: [{ text: "the store is full" }, { text: "and read-only" }],
    };
    const answer = await scene.ask({ path: "/readyz" });
    expect([answer.status, problemOf(answer).code]).toEqual([503, "store-failed"]);
    expect(problemOf(answer).detail).toContain("the store is full; and read-only");
    expect((await scene.ask({ path: "/healthz" })).status).toBe(200);
  });

  test("is asked by HEAD, too", async () => {
    await using scene = await HttpScene.open();
    const answer = await scene.ask({ method: "HEAD", path: "/healthz" });
    expect([answer.status, answer.body.length]).toEqual([200, 0]);
  });
});

describe("status", () => {
  test("of one cluster, and of one that is not there", async () => {
    await using scene = await HttpScene.open();
    const one = await scene.ask({ path: "/v1/clusters/main" });
    expect(JSON.parse(one.body.toString())).toMatchObject({ cluster: "main" });
    const none = await scene.ask({ path: "/v1/clusters/other" });
    expect([none.status, problemOf(none).code]).toEqual([404, "unknown-cluster"]);
  });

  test("that does not come is a failure of the store at the deadline", async () => {
    await using scene = await HttpScene.open({ limits: { answerDeadlineMs: 200 } });
    scene.archive.files.set("sick", new Map());
    scene.archive.beforeStatus = () => new Promise<void>(() => {});
    const answer = await scene.ask({ path: "/v1/clusters/sick" });
    expect([answer.status, problemOf(answer).code]).toEqual([503, "store-failed"]);
  });
});

describe("the status page", () => {
  test("loads nothing, runs nothing, and takes text for text", async () => {
    await using scene = await HttpScene.open();
    scene.readiness = { ready: false, reasons: [{ text: `<script>alert("1")</script> & 'more'` }] };
    const answer = await scene.ask({ path: "/" });
    const page = answer.body.toString();
    expect(answer.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(page).not.toContain("<script");
    expect(page).toContain(
      "&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62; &#38; &#39;more&#39;",
    );
    const policy = answer.headers["content-security-policy"];
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; /);
    expect(policy).not.toContain("unsafe");
    expect(page).not.toMatch(/<(link|img|iframe|object|form|base)\b|\b(src|href|style|on\w+)=/i);
  });
});

test("no answer may be kept by a cache or guessed at by a browser", async () => {
  await using scene = await HttpScene.open();
  for (const path of ["/", "/metrics", "/v1/clusters", "/v1/clusters/main/wal/00000002.history"]) {
    const { headers } = await scene.ask({ path });
    expect(headers["cache-control"]).toBe("no-store, no-transform");
    expect(headers["x-content-type-options"]).toBe("nosniff");
  }
});

test("a log line is one line, whatever a request holds", async () => {
  await using scene = await HttpScene.open();
  const nasty = "%0d%0a%1b[31m%e2%80%a8";
  await scene.ask({ path: `/v1/clusters/main/wal/${nasty}` });
  await scene.ask({ path: `/${nasty}` });
  using wire = await scene.wire();
  await wire.say(
    "PUT /v1/clusters/main/wal/00000002.history HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n" +
      "content-encoding: \u009b31m\u0085\r\nauthorization: \t\r\n\r\n",
  );
  await scene.logged("push refused");
  for (const line of scene.rawLog) {
    expect(line).toMatch(/^\{[^\p{Cc}\u2028\u2029]*\}\n$/u);
  }
});
