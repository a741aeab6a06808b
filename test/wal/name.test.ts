import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFailure } from "../../src/errors.ts";
import { historyName, parseWalName, requireWalName } from "../../src/wal/name.ts";

describe("the four kinds of names", () => {
  test.each([
    ["000000010000000A000000FF", "segment", 1, 10, 255, "0000000A000000FF"],
    ["000000090000000000000001", "segment", 9, 0, 1, "0000000000000001"],
    ["0000000A0000000000000001", "segment", 10, 0, 1, "0000000000000001"],
    ["0000000F0000000000000FFF", "segment", 15, 0, 4095, "0000000000000FFF"],
    ["000000100000000000000001", "segment", 16, 0, 1, "0000000000000001"],
    [
      "FFFFFFFFFFFFFFFFFFFFFFFF",
      "segment",
      2 ** 32 - 1,
      2 ** 32 - 1,
      2 ** 32 - 1,
      "FFFFFFFFFFFFFFFF",
    ],
    ["000000010000000A000000FF.partial", "partial", 1, 10, 255, "0000000A000000FF"],
    ["000000010000000A000000FF.00000028.backup", "backup", 1, 10, 255, "0000000A000000FF"],
    ["000000010000000A000000FF.FFFFFFFF.backup", "backup", 1, 10, 255, "0000000A000000FF"],
  ])("%s is a %s", (text, kind, timeline, log, segment, position) => {
    const name = { kind, text, timeline, log, segment, position };
    expect(parseWalName(text)).toEqual(name);
    expect(requireWalName(text)).toEqual(name);
  });

  test.each([
    ["00000001.history", 1],
    ["00000009.history", 9],
    ["0000000A.history", 10],
    ["00000010.history", 16],
    ["FFFFFFFF.history", 2 ** 32 - 1],
  ])("%s is a history file", (text, timeline) => {
    expect(parseWalName(text)).toEqual({ kind: "history", text, timeline });
    expect(historyName(timeline)).toBe(text);
  });

  test("positions compare as text, because they have equal lengths", () => {
    const earlier = position("FFFFFFFF00000009000000FF");
    expect(earlier < position("000000010000000A00000000")).toBe(true);
  });
});

describe("what is no WAL file", () => {
  const names = [
    "",
    "00000001000000000000000", // 23 digits
    "0000000100000000000000011", // 25
    "00000001000000000000000a",
    "00000001000000000000000G",
    "00000001000000000000000 ",
    " 000000010000000000000001",
    "000000010000000000000001\n",
    "000000010000000000000001\0",
    "000000010000000000000001.",
    "000000000000000000000001", // PostgreSQL counts timelines from 1
    "000000000000000000000001.partial",
    "00000000.history",
    "0000001.history",
    "000000001.history",
    "0000000a.history",
    "00000001.History",
    "00000001.history.gz",
    "00000001",
    "000000010000000000000001.PARTIAL",
    "000000010000000000000001.partial.partial",
    "000000010000000000000001.0000028.backup",
    "000000010000000000000001.000000028.backup",
    "000000010000000000000001.0000002a.backup",
    "000000010000000000000001.00000028.backup.partial",
    "000000010000000000000001.backup",
    "000000010000000000000001.gz",
    "000000010000000000000001.ready",
    "../000000010000000000000001",
    "wal/000000010000000000000001",
    "kcab.trap.history0", // in the archiver's own, looser, character set
    "０00000010000000000000001",
    "RECOVERYXLOG",
    "RECOVERYHISTORY",
  ];

  test.each(names)("%j is refused", (text) => {
    expect(parseWalName(text)).toBeUndefined();
    const error = thrownBy(() => requireWalName(text));
    expect(isFailure(error, "rejected")).toBe(true);
  });

  test("a message shows what was sent, in one line and not at any length", () => {
    expect(thrownBy(() => requireWalName("a\nb"))).toMatchObject({
      message: String.raw`"a\nb" is not the name of a WAL file`,
    });
    expect(String(thrownBy(() => requireWalName("x".repeat(10_000)))).length).toBeLessThan(200);
  });
});

test("a name that parses is made of what it parsed into", () => {
  const hex8 = fc
    .nat({ max: 0xffff_ffff })
    .map((n) => n.toString(16).toUpperCase().padStart(8, "0"));
  fc.assert(
    fc.property(
      hex8,
      hex8,
      hex8,
      fc.constantFrom("", ".partial", ".00000028.backup"),
      (...parts) => {
        const name = parseWalName(parts.join(""));
        if (parts[0] === "00000000") return name === undefined;
        if (name === undefined || name.kind === "history") return false;
        return (
          name.timeline === Number.parseInt(parts[0], 16) &&
          name.log === Number.parseInt(parts[1], 16) &&
          name.segment === Number.parseInt(parts[2], 16) &&
          name.position === parts[1] + parts[2]
        );
      },
    ),
  );
});

test("one changed character makes a name another one or none", () => {
  const text = "000000010000000A000000FF.00000028.backup";
  fc.assert(
    fc.property(
      fc.nat({ max: text.length - 1 }),
      fc.string({ unit: "binary-ascii" }),
      (at, other) => {
        const changed = text.slice(0, at) + other + text.slice(at + 1);
        const name = parseWalName(changed);
        return name === undefined || (name.text === changed && /^[0-9A-F.a-z]+$/.test(changed));
      },
    ),
  );
});

function position(text: string): string {
  const name = requireWalName(text);
  return name.kind === "history" ? "" : name.position;
}

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}
