import { describe, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { parseBackupHistory } from "../../src/wal/backup-history.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { BACKUP } from "./postgres-files.ts";

const MIB = 1024 * 1024;

test("what a real pg_basebackup left is read, with or without the segment size", () => {
  const backup = {
    startLsn: 0x80_0028n,
    startSegment: "000000010000000000000008",
    stopLsn: 0x80_0100n,
    stopSegment: "000000010000000000000008",
    label: "two\nlines",
    startTimeline: 1,
  };
  expect(parse(BACKUP.name, BACKUP.text)).toEqual(backup);
  expect(parse(BACKUP.name, BACKUP.text, MIB)).toEqual(backup);
});

describe("name and START WAL LOCATION", () => {
  test.each([
    [1, "0000000100000000000000FF.000FFFFF.backup", "0/FFFFFFF", "0000000100000000000000FF"],
    [16, "0000000100000000000000FF.00000028.backup", "0/FF000028", "0000000100000000000000FF"],
    [64, "00000001000000000000003F.00000028.backup", "0/FC000028", "00000001000000000000003F"],
    [1024, "000000010000000700000003.3FFFFFFF.backup", "7/FFFFFFFF", "000000010000000700000003"],
    [16, "0000000A0000000000000002.00000000.backup", "0/2000000", "0000000A0000000000000002"],
    [16, "000000030000000000000002.00000028.backup", "0/2000028", "000000020000000000000002"],
  ])("with %d MB segments %s starts at %s in %s", (sizeMb, name, lsn, file) => {
    const text = textOf({ lsn, file });
    expect(parse(name, text, sizeMb * MIB).startSegment).toBe(file);
    expect(parse(name, text).startSegment).toBe(file);
  });

  const name = "000000010000000000000002.00000028.backup";
  test.each([
    ["another segment", "0/3000028", "000000010000000000000003", /is in file 0+10+3, not in/],
    ["a later timeline", "0/2000028", "000000020000000000000002", /has a timeline above/],
    ["another offset", "0/2000030", "000000010000000000000002", /0\/2000030 is not the place/],
    ["another log", "1/2000028", "000000010000000000000002", /1\/2000028 is not the place/],
    ["no segment of this size", "0/2100028", "000000010000000000000002", /is not the place/],
  ])("%s is refused", (_what, lsn, file, message) => {
    expect(refusal(name, textOf({ lsn, file }))).toMatch(message);
    expect(refusal(name, textOf({ lsn, file }), 16 * MIB)).toMatch(message);
  });

  test("the place must be right with the cluster's segment size, not with any", () => {
    const text = textOf({ lsn: "0/2000028", file: "000000010000000000000002" });
    expect(refusal(name, text, 16 * MIB)).toBeUndefined();
    expect(refusal(name, text)).toBeUndefined();
    expect(refusal(name, text, 64 * MIB)).toMatch(/0\/2000028 is not the place in the name/);
  });

  test("an offset outside the segment is refused", () => {
    const text = textOf({ lsn: "0/3000000", file: "000000010000000000000002" });
    expect(refusal("000000010000000000000002.01000000.backup", text, 16 * MIB)).toMatch(/place/);
    expect(refusal("000000010000000000000002.7FFFFFFF.backup", text)).toMatch(/place/);
  });

  test("a segment that does not exist with the cluster's segment size is refused", () => {
    const text = textOf({ lsn: "0/10000028", file: "000000010000000000000100" });
    const impossible = "000000010000000000000100.00000028.backup";
    expect(refusal(impossible, text, 16 * MIB)).toMatch(/is not the place/);
    expect(refusal(impossible, text, MIB)).toBeUndefined();
  });
});

describe("what is no backup history file", () => {
  const good = textOf({ lsn: "0/2000028", file: "000000010000000000000002" });
  test.each([
    ["an empty one", "", /first line is no START WAL LOCATION/],
    ["a backup_label, which has no stop", good.replace(/STOP WAL.*\n/, ""), /second line is no/],
    ["something before the start", `\n${good}`, /first line is no START/],
    ["a start without a file", good.replace(/ \(file.*\n/, "\n"), /first line is no START/],
    ["an LSN that is none", good.replace("0/2000028", "2000028"), /first line is no START/],
    ["a file that is no segment", good.replace("(file 0", "(file G"), /first line is no START/],
    ["one on timeline 0", good.replace("(file 00000001", "(file 00000000"), /first line is no/],
    ["a stop that is none", good.replace("STOP WAL LOCATION: 0/", "STOP WAL LOCATION: "), /second/],
    ["NUL bytes", `${good}\0`, /not text/],
  ])("%s is refused", (_what, text, message) => {
    expect(refusal("000000010000000000000002.00000028.backup", text)).toMatch(message);
  });

  test("asking it of another kind of file is a bug, not a refusal", () => {
    expect(() => parse("00000002.history", good)).toThrow(TypeError);
  });
});

describe("the label", () => {
  const name = "000000010000000000000002.00000028.backup";
  const place = { lsn: "0/2000028", file: "000000010000000000000002" };

  test("may look like any other line", () => {
    const label = "a\nSTART TIMELINE: 99\nLABEL: b\nSTART WAL LOCATION: 0/0 (file x)";
    const backup = parse(name, textOf({ ...place, label, timeline: 7 }));
    expect(backup).toMatchObject({ label, startTimeline: 7, startLsn: 0x200_0028n });
  });

  test("may be empty, or missing with everything after it", () => {
    expect(parse(name, textOf({ ...place, label: "" }))).toMatchObject({ label: "" });
    const head = textOf(place).split("\n").slice(0, 2).join("\n");
    expect(parse(name, head)).toMatchObject({ label: "", startTimeline: undefined });
  });
});

function textOf(wish: { lsn: string; file: string; label?: string; timeline?: number }): string {
  return `START WAL LOCATION: ${wish.lsn} (file ${wish.file})
STOP WAL LOCATION: ${wish.lsn} (file ${wish.file})
CHECKPOINT LOCATION: ${wish.lsn}
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 14:04:41 UTC
LABEL: ${wish.label ?? "nightly"}
START TIMELINE: ${wish.timeline ?? 1}
STOP TIME: 2026-11-21 14:04:42 UTC
STOP TIMELINE: ${wish.timeline ?? 1}
`;
}

function parse(name: string, text: string, segmentSizeBytes?: number) {
  return parseBackupHistory(requireWalName(name), text, { segmentSizeBytes });
}

function refusal(name: string, text: string, segmentSizeBytes?: number): string | undefined {
  try {
    parse(name, text, segmentSizeBytes);
    return undefined;
  } catch (error) {
    if (!(error instanceof WalarcError) || error.code !== "rejected") throw error;
    return error.message;
  }
}
