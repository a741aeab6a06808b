import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Catalog, type TimelineStatus } from "../../src/wal/catalog.ts";
import { parseHistory } from "../../src/wal/history.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { SEGMENT_SIZES, segmentName, startLsn } from "../../src/wal/segment.ts";
import { catalogOf, MIB, type Switch, segment } from "./catalog-maker.ts";
import { HISTORY_2, HISTORY_3 } from "./postgres-files.ts";

const HISTORY_OF_2: Switch = [2, [1, 6, 0x98]]; // left timeline 1 inside segment 6

describe("what is held", () => {
  test.each([
    "000000010000000000000005",
    "000000010000000000000005.partial",
    "000000010000000000000005.00000028.backup",
    "00000002.history",
  ])("%s is held from when it is added until it is removed, and nothing else is", (text) => {
    const names = [
      "000000010000000000000005",
      "000000020000000000000005",
      "000000010000000000000005.partial",
      "000000010000000000000005.00000028.backup",
      "000000010000000000000005.00000030.backup",
      "00000002.history",
    ].map(requireWalName);
    const catalog = catalogOf({});
    const held = () => names.filter((name) => catalog.holds(name)).map((name) => name.text);

    expect(held()).toEqual([]);
    catalog.add(requireWalName(text));
    catalog.add(requireWalName(text));
    expect(held()).toEqual([text]);
    expect(catalog.files).toBe(1);

    catalog.remove(requireWalName(text));
    catalog.remove(requireWalName(text));
    expect(held()).toEqual([]);
    expect(catalog.files).toBe(0);
  });

  test("files and segments are counted", () => {
    const catalog = catalogOf({ 1: [1, 2, 5], 2: [5] }, HISTORY_OF_2);
    catalog.add(requireWalName("000000010000000000000006.partial"));
    expect(catalog).toMatchObject({ segments: 4, files: 6 });
  });

  test("the latest is the highest position, and the newest timeline where two share it", () => {
    expect(catalogOf({}).latest()).toBeUndefined();
    expect(catalogOf({ 1: [1, 9], 2: [8] }).latest()).toBe(segment(1, 9).text);
    expect(catalogOf({ 1: [9], 3: [9], 2: [9] }).latest()).toBe(segment(3, 9).text);
    expect(catalogOf({ 10: [9], 9: [9] }).latest()).toBe("0000000A0000000000000009");
  });
});

describe("before a segment binds the size", () => {
  test("everything but segments is taken, and nothing is a gap", () => {
    const catalog = new Catalog();
    catalog.addHistory({ timeline: 2, parents: [{ timeline: 1, switchLsn: 0x600_0098n }] });
    expect(catalog.holds(requireWalName("00000002.history"))).toBe(true);
    expect(catalog.holds(segment(1, 5))).toBe(false);
    expect(catalog.missing(segment(1, 5))).toBe("absent");
    expect(catalog.timelines()).toEqual([
      { timeline: 2, parent: 1, switchLsn: "0/6000098", ranges: [], gaps: [] },
    ]);
    expect(() => catalog.add(segment(1, 5))).toThrow(RangeError);
  });

  test("a bound size brings what the history files say to bear, and stays", () => {
    const catalog = new Catalog();
    catalog.addHistory({ timeline: 2, parents: [{ timeline: 1, switchLsn: 0x600_0098n }] });
    catalog.bindSegmentSize(16 * MIB);
    expect(catalog.missing(segment(1, 5))).toBe("gap");
    expect(catalog.segmentSizeBytes).toBe(16 * MIB);

    catalog.bindSegmentSize(16 * MIB);
    expect(() => catalog.bindSegmentSize(64 * MIB)).toThrow(RangeError);
    expect(() => new Catalog().bindSegmentSize(3 * MIB)).toThrow(RangeError);
  });

  test("a name that no segment of the size has is neither taken nor held nor missed", () => {
    const catalog = catalogOf({ 1: [0x200] });
    const impossible = requireWalName("000000010000000000000100");
    expect(() => catalog.add(impossible)).toThrow(RangeError);
    catalog.remove(impossible);
    expect(catalog.holds(impossible)).toBe(false);
    expect(catalog.missing(impossible)).toBe("absent");
  });
});

describe("missing: gap or absent", () => {
  test("a segment with a later one of its timeline is a gap, however far back", () => {
    const catalog = catalogOf({ 1: [5, 6, 9] });
    expect(missing(catalog, 1)).toEqual([0, 1, 2, 3, 4, 7, 8]);
  });

  test("the end of a timeline is absent, whatever other timelines hold", () => {
    const catalog = catalogOf({ 1: [5], 2: [9] });
    expect(missing(catalog, 1)).toEqual([0, 1, 2, 3, 4]);
    expect(missing(catalog, 3)).toEqual([]);
  });

  test("before its first segment a timeline has no gap, since that WAL is its parent's", () => {
    const catalog = catalogOf({ 1: [1, 2, 3, 4, 5], 2: [8] }, HISTORY_OF_2);
    expect(missing(catalog, 2)).toEqual([6, 7]);
  });

  test("a timeline's first segment is the one of its last parent's line", () => {
    const catalog = catalogOf({ 3: [12] }, [3, [1, 4, 0x98], [2, 9, 0x98]]);
    expect(missing(catalog, 3)).toEqual([9, 10, 11]);
  });

  test("history files alone tell that a parent went on, up to where its child left", () => {
    const inside = catalogOf({ 1: [3] }, HISTORY_OF_2);
    expect(missing(inside, 1)).toEqual([0, 1, 2, 4, 5]);
    expect(missing(inside, 2)).toEqual([]);
  });

  // The child's first segment begins with a copy of what the parent wrote into it.
  test.each([
    ["the last byte of segment 5", 5, 16 * MIB - 1, [0, 1, 2, 3, 4]],
    ["the first byte of segment 6", 6, 0, [0, 1, 2, 3, 4, 5]],
    ["the second byte of segment 6", 6, 1, [0, 1, 2, 3, 4, 5]],
    ["the last byte of segment 6", 6, 16 * MIB - 1, [0, 1, 2, 3, 4, 5]],
    ["the first byte of segment 7", 7, 0, [0, 1, 2, 3, 4, 5, 6]],
  ])("a child that leaves at %s", (_where, number, offset, gaps) => {
    expect(missing(catalogOf({}, [2, [1, number, offset]]), 1)).toEqual(gaps);
  });

  test("of several children the last to leave counts", () => {
    const catalog = catalogOf({}, [2, [1, 6, 1]], [3, [1, 4, 1]]);
    expect(missing(catalog, 1)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("a grandchild's file speaks of all its ancestors, also of those without a file", () => {
    const catalog = catalogOf({}, [3, [1, 4, 1], [2, 9, 1]]);
    expect(missing(catalog, 1)).toEqual([0, 1, 2, 3]);
    expect(missing(catalog, 2)).toEqual([4, 5, 6, 7, 8]);
    expect(missing(catalog, 3)).toEqual([]);
  });

  test("a timeline's own file counts more than a descendant's", () => {
    const catalog = catalogOf({}, [2, [1, 6, 1]], [3, [1, 4, 1], [2, 9, 1]]);
    expect(missing(catalog, 2)).toEqual([6, 7, 8]);
  });

  test("a history file that is removed says nothing any more, and neither does a name alone", () => {
    const catalog = catalogOf({}, HISTORY_OF_2);
    catalog.remove(requireWalName("00000002.history"));
    expect(missing(catalog, 1)).toEqual([]);
    catalog.add(requireWalName("00000002.history"));
    expect(missing(catalog, 1)).toEqual([]);
  });

  test("only a segment can be a gap", () => {
    const catalog = catalogOf({ 1: [9], 2: [9] }, [3, [2, 9, 1]]);
    for (const text of [
      "00000002.history",
      "00000001.history",
      "000000010000000000000005.partial",
      "000000010000000000000005.00000028.backup",
    ]) {
      expect(catalog.missing(requireWalName(text))).toBe("absent");
    }
  });

  test.each([9, 0xa, 0xf, 0x10, 0xffff_ffff])("timeline %d is one of its own", (timeline) => {
    const catalog = catalogOf({ [timeline]: [5, 7] });
    expect(missing(catalog, timeline)).toEqual([0, 1, 2, 3, 4, 6]);
    for (const other of [9, 0xa, 0xf, 0x10, 0xffff_ffff].filter((other) => other !== timeline)) {
      expect(missing(catalog, other)).toEqual([]);
    }
  });

  test.each(SEGMENT_SIZES)("with segments of %d bytes a log's end is no gap", (size) => {
    const perLog = 2 ** 32 / size;
    const names = [perLog - 1, perLog].map((n) => requireWalName(segmentName(1, n, size)));
    const catalog = new Catalog();
    catalog.bindSegmentSize(size);
    for (const name of names) catalog.add(name);

    expect(catalog.timelines()[0]).toMatchObject({
      ranges: [{ first: names[0]?.text, last: names[1]?.text, segments: 2 }],
      gaps: [],
    });
    catalog.addHistory({
      timeline: 2,
      parents: [{ timeline: 1, switchLsn: startLsn(perLog + 2, size) }],
    });
    expect(catalog.missing(requireWalName(segmentName(1, perLog + 1, size)))).toBe("gap");
    expect(catalog.missing(requireWalName(segmentName(1, perLog + 2, size)))).toBe("absent");
  });
});

describe("the status", () => {
  test("shows ranges, and gaps between their neighbours", () => {
    expect(catalogOf({ 1: [0xfd, 0xfe, 0x101, 0x102, 0x106] }).timelines()).toEqual([
      {
        timeline: 1,
        parent: null,
        switchLsn: null,
        ranges: [
          {
            first: "0000000100000000000000FD",
            last: "0000000100000000000000FE",
            segments: 2,
          },
          {
            first: "000000010000000100000001",
            last: "000000010000000100000002",
            segments: 2,
          },
          {
            first: "000000010000000100000006",
            last: "000000010000000100000006",
            segments: 1,
          },
        ],
        gaps: [
          {
            after: "0000000100000000000000FE",
            before: "000000010000000100000001",
            segments: 2,
          },
          {
            after: "000000010000000100000002",
            before: "000000010000000100000006",
            segments: 3,
          },
        ],
      },
    ]);
  });

  test("is empty for an empty archive", () => {
    expect(catalogOf({}).timelines()).toEqual([]);
    expect(catalogOf({}).gapSegments).toBe(0);
  });

  test("shows timelines in order, with where they left their parents", () => {
    const catalog = catalogOf({ 10: [9], 9: [5], 1: [1] }, [9, [1, 5, 0x98]]);
    expect(catalog.timelines()).toMatchObject([
      { timeline: 1, parent: null, switchLsn: null },
      { timeline: 9, parent: 1, switchLsn: "0/5000098" },
      { timeline: 10, parent: null, switchLsn: null },
    ]);
  });

  test("shows a promotion by two archiving nodes without a gap", () => {
    // Segment 4 exists three times: from the old primary, as .partial and on the new timeline.
    const catalog = catalogOf({ 1: [1, 2, 3, 4], 2: [4, 5] }, [2, [1, 4, 0x98]]);
    catalog.add(requireWalName("000000010000000000000004.partial"));
    expect(gapsOf(catalog)).toEqual([]);
    catalog.remove(segment(1, 4));
    expect(gapsOf(catalog)).toEqual([]);
  });

  test("shows what was lost between the old primary's last segment and the promotion", () => {
    const catalog = catalogOf({ 1: [1, 2, 3], 2: [6, 7] }, HISTORY_OF_2);
    expect(gapsOf(catalog)).toEqual([[1, segment(1, 3).text, segment(2, 6).text, 2]]);
    expect(catalog.gapSegments).toBe(2);
  });

  test("shows a missing beginning of a timeline whose parent's end is there", () => {
    const catalog = catalogOf({ 1: [4, 5], 2: [8] }, HISTORY_OF_2);
    expect(gapsOf(catalog)).toEqual([[2, segment(1, 5).text, segment(2, 8).text, 2]]);
  });

  test("shows a timeline of which nothing is left but its descendants' word", () => {
    const catalog = catalogOf({ 1: [1, 2, 3], 3: [9] }, [3, [1, 4, 1], [2, 9, 1]]);
    expect(gapsOf(catalog)).toEqual([[2, segment(1, 3).text, segment(3, 9).text, 5]]);
    expect(catalog.timelines()).toMatchObject([
      { timeline: 1 },
      { timeline: 2, parent: 1, switchLsn: "0/4000001", ranges: [] },
      { timeline: 3, parent: 2, switchLsn: "0/9000001" },
    ]);
  });

  test("shows no gap where retention has removed the oldest positions", () => {
    const whole = { 1: [1, 2, 3, 4, 5, 6, 7], 2: [6, 7, 8, 9] };
    const catalog = catalogOf(whole, HISTORY_OF_2, [3, [1, 6, 0x98], [2, 8, 0]]);
    for (let number = 1; number <= 8; number += 1) {
      for (const timeline of [1, 2]) catalog.remove(segment(timeline, number));
      expect(gapsOf(catalog)).toEqual([]);
    }
    expect(missing(catalog, 2)).toEqual([6, 7, 8]);
  });

  test("joins the real history of a restored and promoted cluster", () => {
    const catalog = new Catalog();
    catalog.bindSegmentSize(MIB);
    for (const { name, text } of [HISTORY_2, HISTORY_3]) {
      catalog.addHistory(parseHistory(requireWalName(name), text));
    }
    const add = (timeline: number, first: number, last: number) => {
      for (let number = first; number <= last; number += 1) {
        catalog.add(requireWalName(segmentName(timeline, number, MIB)));
      }
    };
    add(1, 6, 0x16);
    add(2, 0x16, 0x18);
    add(3, 0x19, 0x1b);
    catalog.add(requireWalName("000000020000000000000019.partial"));

    expect(catalog.timelines()).toMatchObject([
      { timeline: 1, parent: null, switchLsn: null, gaps: [] },
      { timeline: 2, parent: 1, switchLsn: "0/1600000", gaps: [] },
      { timeline: 3, parent: 2, switchLsn: "0/19000A0", gaps: [] },
    ]);
    expect(catalog.latest()).toBe("00000003000000000000001B");
    expect(catalog.files).toBe(17 + 3 + 3 + 1 + 2);
  });
});

describe("against the rules written out plainly", () => {
  const LAST = 14;
  const number = fc.integer({ min: 1, max: LAST });
  const held = fc.record({ timeline: fc.integer({ min: 1, max: 4 }), number });
  const step = fc.record({ isAdded: fc.oneof(fc.constant(true), fc.boolean()), name: held });
  const parent = fc.tuple(fc.integer({ min: 1, max: 4 }), number, fc.constantFrom(0, 1, MIB - 1));
  const history = fc
    .uniqueArray(parent, { minLength: 1, maxLength: 3, selector: ([timeline]) => timeline })
    .map((parents) => parents.sort(([a], [b]) => a - b))
    .chain((parents) => {
      const own = fc.integer({ min: (parents.at(-1)?.[0] ?? 0) + 1, max: 6 });
      return own.map((timeline): Switch => [timeline, ...parents]);
    });
  const histories = fc.uniqueArray(history, { maxLength: 4, selector: ([timeline]) => timeline });

  test("holds, missing and timelines agree with a set of names", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), histories, (steps, histories) => {
        const catalog = catalogOf({}, ...histories);
        const model = new Set<string>();
        for (const { isAdded, name } of steps) {
          const { text } = segment(name.timeline, name.number);
          if (isAdded) catalog.add(requireWalName(text));
          else catalog.remove(requireWalName(text));
          if (isAdded) model.add(text);
          else model.delete(text);
        }

        expect(catalog.segments).toBe(model.size);
        const latest = [...model].sort((a, b) => (a.slice(8) + a < b.slice(8) + b ? -1 : 1)).at(-1);
        expect(catalog.latest()).toBe(latest);
        const oldest = Math.min(...[...model].map(numberOf));
        const shown = new Map(catalog.timelines().map((status) => [status.timeline, status]));
        for (let timeline = 1; timeline <= 6; timeline += 1) {
          const rule = ruleOf(timeline, { model, histories });
          for (let n = 0; n <= LAST + 2; n += 1) {
            const name = segment(timeline, n);
            expect(catalog.holds(name)).toBe(model.has(name.text));
            if (!model.has(name.text)) expect(catalog.missing(name)).toBe(rule.missing(n));
          }
          const numbers = [...Array(LAST + 2).keys()];
          const start = rule.first === undefined ? rule.held[0] : Math.max(rule.first, oldest);
          const gaps = numbers.filter(
            (n) => !rule.held.includes(n) && n >= (start ?? Infinity) && rule.missing(n) === "gap",
          );
          expect(numbersIn(shown.get(timeline)?.gaps)).toEqual(gaps);
          expect(numbersIn(shown.get(timeline)?.ranges)).toEqual(rule.held);
        }
      }),
      { numRuns: 300 },
    );
  });

  function ruleOf(timeline: number, archive: { model: Set<string>; histories: Switch[] }) {
    const held = [...archive.model].filter((text) => Number(`0x${text.slice(0, 8)}`) === timeline);
    const numbers = held.map(numberOf).sort((a, b) => a - b);
    const left: number[] = [];
    const begun: { isOwn: boolean; lsn: number }[] = [];
    for (const [own, ...parents] of archive.histories) {
      for (const [index, [parent, number, offset]] of parents.entries()) {
        if (parent === timeline) left.push(number);
        const child = parents[index + 1]?.[0] ?? own;
        const lsn = number * 16 * MIB + offset;
        if (child === timeline) begun.push({ isOwn: own === timeline, lsn });
      }
    }
    begun.sort((a, b) => Number(b.isOwn) - Number(a.isOwn) || a.lsn - b.lsn);
    const first = begun[0] && Math.floor(begun[0].lsn / (16 * MIB));
    const missing = (n: number) => {
      const goesOn = numbers.some((m) => m > n) || left.some((m) => m > n);
      return goesOn && n >= (first ?? 0) ? "gap" : "absent";
    };
    return { held: numbers, first, missing };
  }
});

/** Numbers below 20 of the timeline that are missing as a gap. */
function missing(catalog: Catalog, timeline: number): number[] {
  const numbers = [...Array(20).keys()];
  return numbers.filter((number) => {
    const name = segment(timeline, number);
    return !catalog.holds(name) && catalog.missing(name) === "gap";
  });
}

function gapsOf(catalog: Catalog): (string | number | null)[][] {
  return catalog
    .timelines()
    .flatMap(({ timeline, gaps }) =>
      gaps.map(({ after, before, segments }) => [timeline, after, before, segments]),
    );
}

/** The segment numbers of ranges or between a gap's neighbours; the counts must agree. */
function numbersIn(
  runs: TimelineStatus["ranges"] | TimelineStatus["gaps"] | undefined = [],
): number[] {
  return runs.flatMap((run) => {
    const isGap = "after" in run;
    const first = isGap ? numberOf(run.after ?? "") + 1 : numberOf(run.first);
    const last = isGap ? numberOf(run.before) - 1 : numberOf(run.last);
    expect(run.segments).toBe(last - first + 1);
    return Array.from({ length: run.segments }, (_, index) => first + index);
  });
}

function numberOf(text: string): number {
  return Number(`0x${text.slice(8, 16)}`) * 256 + Number(`0x${text.slice(16)}`);
}
