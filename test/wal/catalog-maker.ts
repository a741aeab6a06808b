import { Catalog } from "../../src/wal/catalog.ts";
import { requireWalName, type WalName } from "../../src/wal/name.ts";
import { segmentName, startLsn } from "../../src/wal/segment.ts";

export const MIB = 1024 * 1024;
const SEGMENT_BYTES = 16 * MIB;

/** A history file: its timeline, then for each parent its timeline, segment number and offset. */
export type Switch = [timeline: number, ...parents: [number, number, number][]];

/** Timeline 2 left timeline 1 inside segment 6. */
export const HISTORY_OF_2: Switch = [2, [1, 6, 0x98]];

/** A catalog of 16 MB segments, given as numbers by timeline. */
export function catalogOf(segments: Record<number, number[]>, ...histories: Switch[]): Catalog {
  const catalog = new Catalog();
  catalog.bindSegmentSize(SEGMENT_BYTES);
  for (const [timeline, numbers] of Object.entries(segments)) {
    for (const number of numbers) catalog.add(segment(Number(timeline), number));
  }
  for (const [timeline, ...parents] of histories) {
    catalog.addHistory({
      timeline,
      parents: parents.map(([timeline, number, offset]) => {
        return { timeline, switchLsn: startLsn(number, SEGMENT_BYTES) + BigInt(offset) };
      }),
    });
  }
  return catalog;
}

export function segment(timeline: number, number: number): WalName {
  return requireWalName(segmentName(timeline, number, SEGMENT_BYTES));
}

/** Numbers below 20 of the timeline that are missing as a gap. */
export function missing(catalog: Catalog, timeline: number): number[] {
  const numbers = [...Array(20).keys()];
  return numbers.filter((number) => {
    const name = segment(timeline, number);
    return !catalog.holds(name) && catalog.missing(name) === "gap";
  });
}
