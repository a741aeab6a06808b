import { describe, expect, test } from "vitest";
import { takeObjects } from "../../src/store/s3/list-body.ts";

const object = (key: string, size: number | string): string => {
  return (
    `<Contents><Key>${key}</Key><LastModified>2026-11-21T17:00:00.000Z</LastModified>` +
    `<ETag>&quot;0cc1&quot;</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass>` +
    "<Owner><ID>walarc</ID><DisplayName>w</DisplayName></Owner></Contents>"
  );
};
const HEAD = '<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>';
const TAIL = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>";

describe("the objects of a listing", () => {
  test("are taken out in order, and the rest stays as it was", () => {
    const xml = `${HEAD}${object("a/1", 7)}\n${object("a/2", 0)}${TAIL}`;
    expect(takeObjects(xml)).toEqual({
      objects: [
        { key: "a/1", storedBytes: 7 },
        { key: "a/2", storedBytes: 0 },
      ],
      rest: `${HEAD}\n${TAIL}`,
    });
    expect(takeObjects(HEAD + TAIL)).toEqual({ objects: [], rest: HEAD + TAIL });
    expect(takeObjects("no listing at all")?.objects).toEqual([]);
  });

  test("have the names that they have, whatever stands in them", () => {
    const keys = ["a &amp; b", "&lt;Contents&gt;", "&#x41;&#66;&quot;&apos;", "&unknown;", "ä/ö"];
    const xml = keys.map((key) => object(key, 1)).join("");
    expect(takeObjects(xml)?.objects.map(({ key }) => key)).toEqual([
      "a & b",
      "<Contents>",
      "AB\"'",
      "&unknown;",
      "ä/ö",
    ]);
  });

  test.each([
    ["without a size", "<Contents><Key>a</Key></Contents>"],
    ["without a key", "<Contents><Size>1</Size></Contents>"],
    ["with a size that is none", object("a", "many")],
    ["cut", object("a", 1).slice(0, -20)],
    ["cut in the key of another", `<Contents><Key>a</Contents>${object("b", 1)}`],
  ])("are left to the SDK where one is %s", (_, xml) => {
    expect(takeObjects(HEAD + object("first", 1) + xml + TAIL)).toBeUndefined();
  });
});
