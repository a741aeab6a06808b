import type { Catalog } from "./catalog.ts";
import { parseWalName } from "./name.ts";
import { segmentName, segmentNumber } from "./segment.ts";

/**
 * The names a catalog holds, ascending as strings: a timeline's history first, `.backup` and
 * `.partial` right after their segment. Starts after `after`, which need not be held; costs no more
 * than the ranges and what is taken.
 */
export function* namesInOrder(catalog: Catalog, after = ""): Generator<string, void, void> {
  const others = catalog.otherNames().filter((name) => name > after);
  others.sort();
  let next = 0;
  for (const segment of segmentsInOrder(catalog, after)) {
    for (; next < others.length && others[next]! < segment; next += 1) yield others[next]!;
    yield segment;
  }
  for (; next < others.length; next += 1) yield others[next]!;
}

function* segmentsInOrder(catalog: Catalog, after: string): Generator<string, void, void> {
  const size = catalog.segmentSizeBytes;
  if (size === undefined) return;
  for (const { timeline, ranges } of catalog.timelines()) {
    for (const range of ranges) {
      if (range.last <= after) continue;
      const [first, last] = [numberOf(range.first, size), numberOf(range.last, size)];
      for (let number = firstAfter(after, range.first, first, size); number <= last; number += 1) {
        yield segmentName(timeline, number, size);
      }
    }
  }
}

function firstAfter(after: string, firstName: string, first: number, size: number): number {
  if (after < firstName) return first;
  return numberOf(after.slice(0, 24), size) + 1;
}

function numberOf(text: string, size: number): number {
  const name = parseWalName(text);
  const number =
    name === undefined || name.kind === "history" ? undefined : segmentNumber(name, size);
  if (number === undefined) throw new RangeError(`"${text}" with segment size ${size}`);
  return number;
}
