import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { logOptions, scrub } from "../../src/telemetry/log.ts";
import { makeToken } from "../../src/token.ts";

function logger(): { log: pino.Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string) => lines.push(line);
  return { log: pino(logOptions({ level: "trace" }), { write }), lines };
}

describe("a log line", () => {
  test("is JSON, with its level as a word and its time in ISO form", () => {
    const { log, lines } = logger();
    log.info({ wal: "00000002.history" }, "pushed");
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      wal: "00000002.history",
      msg: "pushed",
    });
  });

  test("holds no token, wherever it came from", () => {
    const token = makeToken();
    const { log, lines } = logger();
    const error = new Error(`refused: ${token}`, { cause: new Error(`Bearer ${token}`) });
    log.error({ err: error, url: `/?token=${token}`, nested: { deep: [token] } }, `token ${token}`);
    log.info({ headers: { authorization: "Bearer some other secret", cookie: "a=b" } }, "asked");
    log.info({ authorization: "x", token: "y", password: "z", config: { password: "w" } }, "asked");
    log.info({ text: "authorization: Basic dXNlcjpzZWNyZXQ=" }, "asked");
    log.child({ [token]: token }).info("asked");
    const text = lines.join("");
    expect(text).not.toContain(token);
    expect(text).not.toMatch(/some other|a=b|dXNlcjpzZWNyZXQ|"[xyzw]"/);
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
  });

  test("keeps what merely looks a little like a secret", () => {
    for (const text of ["walarc_push_total", "basic trust", "bearer of news"]) {
      expect(scrub(`the ${text}`)).toContain("the ");
    }
    expect(scrub("metric walarc_up")).toBe("metric walarc_up");
  });
});
