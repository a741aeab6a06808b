import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Catalog } from "../../src/wal/catalog.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { namesInOrder } from "../../src/wal/names-in-order.ts";
import { catalogOf, HISTORY_OF_2, segment } from "./catalog-maker.ts";

test("history first, then segments, each before its backup and its partial", () => {
  const catalog = catalogOf({ 1: [0xff, 0x100], 2: [6] }, HISTORY_OF_2);
  const others = [
    "000000010000000100000000.partial",
    "0000000100000000000000FF.00000028.backup",
    "000000010000000000000007.partial",
  ];
  for (const other of others) catalog.add(requireWalName(other));

  expect([...namesInOrder(catalog)]).toEqual([
    "000000010000000000000007.partial",
    "0000000100000000000000FF",
    "0000000100000000000000FF.00000028.backup",
    "000000010000000100000000",
    "000000010000000100000000.partial",
    "00000002.history",
    "000000020000000000000006",
  ]);
});

test("without any segment the other names are there", () => {
  const catalog = new Catalog();
  catalog.add(requireWalName("00000002.history"));
  expect([...namesInOrder(catalog)]).toEqual(["00000002.history"]);
});

test("a page begins in the middle of a long range", () => {
  const catalog = catalogOf({});
  for (let number = 1; number <= 100_000; number += 1) catalog.add(segment(1, number));
  const page = [...namesInOrder(catalog, segment(1, 65_431).text).take(2)];
  expect(page).toEqual([segment(1, 65_432).text, segment(1, 65_433).text]);
});

test("from any text on, they are the names held that are greater", () => {
  const names = ["", ".partial", ".00000028.backup"].flatMap((suffix) =>
    [1, 2, 0x10].flatMap((timeline) =>
      [1, 2, 3, 0xff, 0x100, 0x101].map((number) => segment(timeline, number).text + suffix),
    ),
  );
  names.push("00000002.history", "00000010.history");
  const near = fc.constantFrom(...names).chain((name) =>
    fc.tuple(fc.nat({ max: name.length }), fc.constantFrom("", "0", ".", "Z", "FFF")).map(
      ([length, end]) => name.slice(0, length) + end, // malformed and impossible ones too
    ),
  );
  fc.assert(
    fc.property(
      fc.subarray(names),
      fc.oneof(fc.constantFrom(...names), near, fc.string()),
      (held, after) => {
        const catalog = catalogOf({});
        for (const name of held) catalog.add(requireWalName(name));
        const greater = held.filter((name) => name > after).sort();
        expect([...namesInOrder(catalog, after)]).toEqual(greater);
      },
    ),
    { numRuns: 300 },
  );
});
