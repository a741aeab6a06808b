import type { Catalog } from "./catalog.ts";

/**
 * The names a catalog holds, ascending as strings: a timeline's history first, `.backup` and
 * `.partial` right after their segment. Starts after `after`, any text; costs no more than the
 * ranges, what is not a segment, and what is taken. Take it in one go: the catalog must not change
 * meanwhile.
 */
export function* namesInOrder(catalog: Catalog, after = ""): Generator<string, void, void> {
  const others = catalog.otherNames().filter((name) => name > after);
  others.sort();
  let next = 0;
  for (const segment of catalog.segmentNames(after)) {
    for (; next < others.length; next += 1) {
      const other = others[next];
      if (other === undefined || other > segment) break;
      yield other;
    }
    yield segment;
  }
  yield* others.slice(next);
}
