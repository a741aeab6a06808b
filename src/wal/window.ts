/** Windows: claims that count back from the newest archived segment. */
import type { Catalog } from "./catalog.ts";
import { type PlacedName, parseWalName } from "./name.ts";
import { segmentName } from "./segment.ts";

/** How many archived segments have this number or a higher one, on all timelines together. */
export function segmentsFrom(catalog: Catalog, number: number): number {
  let count = 0;
  for (const { ranges } of catalog.segmentRanges()) {
    for (const { first, last } of ranges) count += Math.max(0, last - Math.max(first, number) + 1);
  }
  return count;
}

/**
 * The highest number from which on the archived segments still make up `keepBytes` plain bytes;
 * where all of them together do not, that of the oldest. `undefined` without any segment.
 */
export function bytesWindowStart(catalog: Catalog, keepBytes: number): number | undefined {
  const size = catalog.segmentSizeBytes;
  const ends = endsOf(catalog);
  if (ends === undefined || size === undefined) return undefined;
  const wanted = Math.ceil(keepBytes / size);
  // Invariant: enough from `low` on, or `low` is the oldest; not enough from `high` on.
  let low = ends.oldest;
  let high = ends.newest + 1;
  while (low + 1 < high) {
    const middle = Math.floor((low + high) / 2);
    if (segmentsFrom(catalog, middle) >= wanted) low = middle;
    else high = middle;
  }
  return low;
}

/** The lowest and the highest archived segment number. */
export function endsOf(catalog: Catalog): { oldest: number; newest: number } | undefined {
  let oldest = Number.POSITIVE_INFINITY;
  let newest = -1;
  for (const { ranges } of catalog.segmentRanges()) {
    oldest = Math.min(oldest, ranges[0]?.first ?? oldest);
    newest = Math.max(newest, ranges.at(-1)?.last ?? newest);
  }
  return newest < 0 ? undefined : { oldest, newest };
}

/**
 * The name by which a window claims everything from `number` on: that of an archived segment where
 * there is one. From the oldest on it also covers what lies below all segments.
 */
export function windowClaim(catalog: Catalog, number: number): PlacedName {
  const size = catalog.segmentSizeBytes;
  if (size === undefined) throw new TypeError("no segment size is bound");
  const holders = catalog
    .segmentRanges()
    .filter(({ ranges }) => ranges.some(({ first, last }) => first <= number && number <= last))
    .map(({ timeline }) => timeline)
    .toArray();
  const timeline = holders.length > 0 ? Math.min(...holders) : newestTimeline(catalog);
  const name = parseWalName(segmentName(timeline, number, size));
  if (name?.kind !== "segment") throw new RangeError(`segment number ${number}`);
  return name;
}

function newestTimeline(catalog: Catalog): number {
  return parseWalName(catalog.latest() ?? "")?.timeline ?? 1;
}
