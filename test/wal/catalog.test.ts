import { describe, expect, test } from "vitest";
import { Catalog } from "../../src/wal/catalog.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { SEGMENT_SIZES, segmentName, startLsn } from "../../src/wal/segment.ts";
import { catalogOf, HISTORY_OF_2, MIB, missing, segment } from "./catalog-maker.ts";

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
    ["the first byte of all", 0, 0, []],
    ["the first byte of segment 1", 1, 0, [0]],
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

  test("a history file that is removed says nothing any more, nor does a name alone", () => {
    const catalog = catalogOf({}, HISTORY_OF_2);
    catalog.remove(requireWalName("00000002.history"));
    expect(missing(catalog, 1)).toEqual([]);
    catalog.add(requireWalName("00000002.history"));
    expect(missing(catalog, 1)).toEqual([]);
  });

  test("a missing history file is a gap where its timeline left traces beside older WAL", () => {
    const history = requireWalName("00000002.history");
    expect(catalogOf({ 1: [8], 2: [9] }).missing(history)).toBe("gap");
    expect(catalogOf({ 1: [8] }, [3, [1, 8, 1], [2, 9, 1]]).missing(history)).toBe("gap");
    // Nobody has got so far yet, or the archive itself began on the timeline.
    expect(catalogOf({ 1: [8] }).missing(history)).toBe("absent");
    expect(catalogOf({ 1: [8], 3: [9] }).missing(history)).toBe("absent");
    expect(catalogOf({ 2: [9] }).missing(history)).toBe("absent");
    expect(catalogOf({ 2: [9], 3: [9] }, [3, [2, 9, 1]]).missing(history)).toBe("absent");
  });

  test("no other file can be a gap", () => {
    const catalog = catalogOf({ 1: [9], 2: [9] }, [3, [2, 9, 1]]);
    for (const text of [
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
