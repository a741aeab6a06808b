import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { requireWalName } from "../../src/wal/name.ts";
import {
  formatLsn,
  isSegmentSize,
  parseLsn,
  SEGMENT_SIZES,
  segmentName,
  segmentNumber,
  segmentNumberOf,
  startLsn,
} from "../../src/wal/segment.ts";

const MIB = 1024 * 1024;

test.each([
  [MIB, true],
  [2 * MIB, true],
  [16 * MIB, true],
  [64 * MIB, true],
  [1024 * MIB, true],
  [MIB / 2, false],
  [2048 * MIB, false],
  [3 * MIB, false],
  [16 * MIB - 1, false],
  [16 * MIB + 1, false],
  [1.5 * MIB, false],
  [0, false],
  [-MIB, false],
  [Number.NaN, false],
  [Number.POSITIVE_INFINITY, false],
])("%d bytes as a segment size: %s", (bytes, answer) => {
  expect(isSegmentSize(bytes)).toBe(answer);
});

describe("names and numbers", () => {
  // The last name of a log and the first of the next, for each segment size.
  test.each([
    [1, "0000000100000000000000FF", 0xff],
    [1, "000000010000000000000FFF", 0xfff],
    [1, "000000010000000100000000", 0x1000],
    [16, "0000000100000000000000FF", 0xff],
    [16, "000000010000000100000000", 0x100],
    [16, "00000001FFFFFFFF000000FF", 2 ** 40 - 1],
    [64, "00000001000000000000003F", 0x3f],
    [64, "000000010000000100000000", 0x40],
    [1024, "000000010000000000000003", 3],
    [1024, "000000010000000100000000", 4],
    [1, "FFFFFFFFFFFFFFFF00000FFF", 2 ** 44 - 1],
    [16, "000000090000000000000010", 0x10],
    [16, "0000000A0000000000000010", 0x10],
    [16, "0000000F0000000000000010", 0x10],
    [16, "000000100000000000000010", 0x10],
  ])("with %d MB segments %s is number %d", (sizeMb, text, number) => {
    const name = placed(text);
    expect(segmentNumber(name, sizeMb * MIB)).toBe(number);
    expect(segmentName(name.timeline, number, sizeMb * MIB)).toBe(text);
  });

  test.each([
    [1, "000000010000000000001000"],
    [16, "000000010000000000000100"],
    [64, "000000010000000000000040"],
    [1024, "000000010000000000000004"],
    [1024, "0000000100000000FFFFFFFF"],
  ])("with %d MB segments no segment is called %s", (sizeMb, text) => {
    expect(segmentNumber(placed(text), sizeMb * MIB)).toBeUndefined();
  });

  test("neighbours have neighbouring names, and positions sort like numbers", () => {
    const size = fc.constantFrom(...SEGMENT_SIZES);
    fc.assert(
      fc.property(
        fc.nat({ max: 2 ** 34 - 2 }),
        size,
        fc.integer({ min: 1, max: 0xffff_ffff }),
        areNeighboursNamed,
      ),
    );
  });
});

describe("LSNs", () => {
  test.each([
    ["0/0", 0n],
    ["0/A16B2E0", 0xa16b2e0n],
    ["1/0", 2n ** 32n],
    ["16/B374D848", 0x16_b374d848n],
    ["FFFFFFFF/FFFFFFFF", 2n ** 64n - 1n],
  ])("%s is read and written alike", (text, lsn) => {
    expect(parseLsn(text)).toBe(lsn);
    expect(formatLsn(lsn)).toBe(text);
  });

  test("a padded low half and lower case are read too", () => {
    expect(parseLsn("0/0A16B2E0")).toBe(0xa16b2e0n);
    expect(parseLsn("a/b")).toBe(0xa_0000_000bn);
  });

  test.each([
    "",
    "0",
    "/",
    "0/",
    "/0",
    "0/G",
    "0x1/0",
    "1/000000000",
    "100000000/0",
    " 0/0",
    "0/0 ",
    "-1/0",
  ])("%j is no LSN", (text) => {
    expect(parseLsn(text)).toBeUndefined();
  });

  test.each([
    [0n, 0],
    [0xff_ffffn, 0],
    [0x100_0000n, 1],
    [0x100_0001n, 1],
    [2n ** 64n - 1n, 2 ** 40 - 1],
  ])("the byte at %d is in 16 MB segment %d", (lsn, number) => {
    expect(segmentNumberOf(lsn, 16 * MIB)).toBe(number);
  });

  test("a segment starts with its own first byte, right after its predecessor's last", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 34 - 1 }),
        fc.constantFrom(...SEGMENT_SIZES),
        startsAfterPredecessor,
      ),
    );
  });
});

function areNeighboursNamed(number: number, size: number, timeline: number): boolean {
  const [one, next] = [number, number + 1].map((n) => placed(segmentName(timeline, n, size)));
  if (one === undefined || next === undefined) return false;
  return (
    one.timeline === timeline &&
    segmentNumber(one, size) === number &&
    segmentNumber(next, size) === number + 1 &&
    one.position < next.position
  );
}

function startsAfterPredecessor(number: number, size: number): boolean {
  const start = startLsn(number, size);
  const isStart = segmentNumberOf(start, size) === number;
  return isStart && segmentNumberOf(start - 1n, size) === number - 1;
}

function placed(text: string) {
  const name = requireWalName(text);
  if (name.kind === "history") throw new TypeError(`${text} has no place`);
  return name;
}
