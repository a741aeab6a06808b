import { posix } from "node:path";
import { array, assert, constantFrom, property, string } from "fast-check";
import { expect, test } from "vitest";
import { basename, dirname, join } from "../../src/standalone/path.ts";

const path = string({
  unit: constantFrom("/", "//", ".", "..", "a", "pg_wal", "é "),
  maxLength: 7,
});

test("the parts of a path are what Node says they are", () => {
  assert(
    property(path, (text) => {
      expect([basename(text), dirname(text)]).toEqual([posix.basename(text), posix.dirname(text)]);
    }),
    { numRuns: 1000 },
  );
});

test("paths are joined as Node joins them", () => {
  assert(
    property(array(path, { maxLength: 4 }), (parts) => {
      expect(join(...parts)).toBe(posix.join(...parts));
    }),
    { numRuns: 1000 },
  );
});
