import { describe, expect, test } from "vitest";
import { Catalog } from "../../src/wal/catalog.ts";
import { parseHistory } from "../../src/wal/history.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { segmentName } from "../../src/wal/segment.ts";
import { catalogOf, HISTORY_OF_2, MIB, missing, segment } from "./catalog-maker.ts";
import { HISTORY_2, HISTORY_3 } from "./postgres-files.ts";

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

  test("shows a gap in the middle between neighbours of the timeline itself", () => {
    const child = catalogOf({ 1: [5], 2: [6, 9] }, HISTORY_OF_2);
    expect(gapsOf(child)).toEqual([[2, segment(2, 6).text, segment(2, 9).text, 2]]);
  });

  test("shows a gap of a parent that went on after its child left", () => {
    const parent = catalogOf({ 1: [1, 2, 9], 2: [4] }, [2, [1, 4, 0x98]]);
    expect(gapsOf(parent)).toEqual([[1, segment(1, 2).text, segment(1, 9).text, 6]]);
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

function gapsOf(catalog: Catalog): (string | number | null)[][] {
  return catalog
    .timelines()
    .flatMap(({ timeline, gaps }) =>
      gaps.map(({ after, before, segments }) => [timeline, after, before, segments]),
    );
}
