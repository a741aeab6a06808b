import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SegmentRanges } from "../../src/wal/ranges.ts";

describe("a handful of segments", () => {
  test("nothing is held at first", () => {
    const ranges = new SegmentRanges();
    expect(ranges).toMatchObject({ count: 0, first: undefined, last: undefined });
    expect(ranges.ranges()).toEqual([]);
    expect(ranges.gaps()).toEqual([]);
    expect(ranges.gaps(3, 5)).toEqual([{ first: 3, last: 5 }]);
  });

  test.each([
    ["in order", [1, 2, 3], [[1, 3]]],
    ["backwards", [3, 2, 1], [[1, 3]]],
    ["the middle last", [1, 3, 2], [[1, 3]]],
    [
      "apart by one",
      [1, 3],
      [
        [1, 1],
        [3, 3],
      ],
    ],
    ["one twice", [5, 5], [[5, 5]]],
    ["inside a range", [1, 2, 3, 2], [[1, 3]]],
    ["segment 0", [1, 0], [[0, 1]]],
    [
      "far apart",
      [2 ** 44 - 1, 1],
      [
        [1, 1],
        [2 ** 44 - 1, 2 ** 44 - 1],
      ],
    ],
  ])("added %s", (_how, numbers, expected) => {
    expect(pairs(rangesOf(numbers).ranges())).toEqual(expected);
  });

  test.each([
    ["the first", 1, [[2, 5]]],
    ["the last", 5, [[1, 4]]],
    [
      "one inside",
      3,
      [
        [1, 2],
        [4, 5],
      ],
    ],
    ["one before", 0, [[1, 5]]],
    ["one behind", 6, [[1, 5]]],
  ])("removing %s of 1 to 5", (_which, number, expected) => {
    const ranges = rangesOf([1, 2, 3, 4, 5]);
    ranges.remove(number);
    expect(pairs(ranges.ranges())).toEqual(expected);
  });

  test("gaps lie between the ends, or where one asks", () => {
    const ranges = rangesOf([4, 5, 8, 12]);
    expect(pairs(ranges.gaps())).toEqual([
      [6, 7],
      [9, 11],
    ]);
    expect(pairs(ranges.gaps(1))).toEqual([
      [1, 3],
      [6, 7],
      [9, 11],
    ]);
    expect(pairs(ranges.gaps(7, 9))).toEqual([
      [7, 7],
      [9, 9],
    ]);
    expect(pairs(ranges.gaps(12, 14))).toEqual([[13, 14]]);
    expect(pairs(ranges.gaps(13, 14))).toEqual([[13, 14]]);
    expect(pairs(ranges.gaps(8, 8))).toEqual([]);
    expect(pairs(ranges.gaps(9, 8))).toEqual([]);
  });
});

test("a million segments with three holes are four ranges", () => {
  const ranges = new SegmentRanges();
  const holes = [17, 500_000, 999_998];
  for (let number = 0; number < 1_000_000; number += 1) {
    if (!holes.includes(number)) ranges.add(number);
  }
  expect(ranges.ranges()).toHaveLength(4);
  expect(ranges.count).toBe(999_997);
  expect(ranges.gaps().map(({ first }) => first)).toEqual(holes);
});

test("whatever is added and removed, it answers like a plain set", () => {
  const number = fc.integer({ min: 0, max: 24 });
  const step = fc.record({ isAdded: fc.boolean(), number });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), number, number, (steps, from, to) => {
      const ranges = new SegmentRanges();
      const model = new Set<number>();
      for (const { isAdded, number } of steps) {
        if (isAdded) {
          ranges.add(number);
          model.add(number);
        } else {
          ranges.remove(number);
          model.delete(number);
        }
      }
      const held = [...model].sort((a, b) => a - b);
      expect(numbersOf(ranges.ranges())).toEqual(held);
      expect(ranges.count).toBe(held.length);
      expect(ranges.first).toBe(held[0]);
      expect(ranges.last).toBe(held.at(-1));
      for (let n = -1; n < 26; n += 1) expect(ranges.has(n)).toBe(model.has(n));

      const missing = between(from, to).filter((n) => !model.has(n));
      expect(numbersOf(ranges.gaps(from, to))).toEqual(missing);
      expectApart(ranges.ranges());
      expectApart(ranges.gaps(from, to));
    }),
    { numRuns: 300 },
  );
});

/** Sorted, not empty, and never two where one would do. */
function expectApart(ranges: readonly { first: number; last: number }[]): void {
  for (const [index, range] of ranges.entries()) {
    expect(range.first).toBeLessThanOrEqual(range.last);
    const next = ranges[index + 1];
    if (next !== undefined) expect(next.first).toBeGreaterThan(range.last + 1);
  }
}

function rangesOf(numbers: readonly number[]): SegmentRanges {
  const ranges = new SegmentRanges();
  for (const number of numbers) ranges.add(number);
  return ranges;
}

function numbersOf(ranges: readonly { first: number; last: number }[]): number[] {
  return ranges.flatMap(({ first, last }) => between(first, last));
}

function between(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

function pairs(ranges: readonly { first: number; last: number }[]): number[][] {
  return ranges.map(({ first, last }) => [first, last]);
}
