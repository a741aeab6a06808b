import { parseArgs as nodeParseArgs } from "node:util";
import { array, assert, constantFrom, oneof, property, string } from "fast-check";
import { expect, test } from "vitest";
import { parseArgs } from "../../src/standalone/arguments.ts";

const OPTIONS = {
  help: { type: "boolean", short: "h" },
  verbose: { type: "boolean" },
  server: { type: "string" },
  "ca-file": { type: "string" },
} as const;

const SIGNS = ["--", "-", "---", "", "--server", "--server=", "--=", "--=x", "--help", "--help=1"];
const MORE = ["-h", "-hx", "-h=1", "--ca-file=a=b", "--toString", "--constructor=1", "-é😀", "a b"];

test("arguments are taken apart as Node takes them apart", () => {
  const arg = oneof(
    constantFrom(...SIGNS, ...MORE),
    string({ unit: constantFrom("-", "=", "h", "server", "x"), maxLength: 6 }),
    string({ unit: "binary", maxLength: 4 }),
  );
  assert(
    property(array(arg, { maxLength: 6 }), (args) => {
      const shape = { args, options: OPTIONS, strict: false, allowPositionals: true, tokens: true };
      const config = shape as typeof shape & {
        strict: false;
        allowPositionals: true;
        tokens: true;
      };
      expect(parseArgs(config).tokens).toEqual(nodeParseArgs(config).tokens.map(plain));
    }),
    { numRuns: 500 },
  );
});

/** Node's objects have no prototype. */
function plain(token: object): object {
  return { ...token };
}
