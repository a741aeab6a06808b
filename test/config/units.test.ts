import { describe, expect, test } from "vitest";
import { closest } from "../../src/config/spelling.ts";
import {
  isClusterName,
  parseDurationMs,
  parseFileMode,
  parseSizeBytes,
} from "../../src/config/units.ts";

describe("a duration", () => {
  test.each([
    ["500ms", 500],
    ["0s", 0],
    ["60s", 60_000],
    ["10m", 600_000],
    ["24h", 86_400_000],
    ["7d", 604_800_000],
    ["30 s", 30_000],
  ])("%j is %i ms", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(["", "60", "s", "1.5h", "-1s", "+1s", "1h30m", "7x", "1w", " 1s", "1s ", "1S", "1  s"])(
    "%j is none",
    (text) => {
      expect(parseDurationMs(text)).toBeUndefined();
    },
  );

  test("of more milliseconds than a number can count is none", () => {
    expect(parseDurationMs("104249991d")).toBe(9_007_199_222_400_000);
    expect(parseDurationMs("104249992d")).toBeUndefined();
    expect(parseDurationMs("9999999999999999s")).toBeUndefined();
  });
});

describe("a size has PostgreSQL's units, which are powers of 1024", () => {
  test.each([
    ["1B", 1],
    ["512kB", 512 * 1024],
    ["16MB", 16 * 2 ** 20],
    ["16MiB", 16 * 2 ** 20],
    ["500GB", 500 * 2 ** 30],
    ["1TB", 2 ** 40],
    ["1TiB", 2 ** 40],
  ])("%j is %i bytes", (text, bytes) => {
    expect(parseSizeBytes(text)).toBe(bytes);
  });

  test.each(["", "16", "16mb", "16KB", "16 M", "1.5GB", "-1MB", "1PB", "8192TBB"])(
    "%j is none",
    (text) => {
      expect(parseSizeBytes(text)).toBeUndefined();
    },
  );
});

test("a file mode has three octal digits, with a zero before them or not", () => {
  expect(parseFileMode("0660")).toBe(0o660);
  expect(parseFileMode("600")).toBe(0o600);
  for (const text of ["", "66", "0668", "1660", "00660", "0o660", "rw-rw----"]) {
    expect(parseFileMode(text)).toBeUndefined();
  }
});

test("a cluster's name is lower case, of 63 characters at most, and begins with no dash", () => {
  for (const name of ["main", "a", "0", "pg-17_eu", `a${"b".repeat(62)}`]) {
    expect(isClusterName(name)).toBe(true);
  }
  const bad = ["", "Main", "-a", "_a", "a.b", "a/b", "..", "ä", "a\n", ` a`, `a${"b".repeat(63)}`];
  for (const name of bad) expect(isClusterName(name)).toBe(false);
});

test("a mistyped word is recognised, and another word is not", () => {
  const words = ["listen", "socket", "socket_mode"];
  expect(closest("sokcet", words)).toBe("socket");
  expect(closest("Listen", words)).toBe("listen");
  expect(closest("socketmode", words)).toBe("socket_mode");
  expect(closest("retention", words)).toBeUndefined();
  expect(closest("x".repeat(100_000), words)).toBeUndefined();
});
