import { readFileSync } from "node:fs";
import {
  array,
  assert,
  constantFrom,
  letrec,
  oneof,
  property,
  string,
  tuple,
  uniqueArray,
} from "fast-check";
import { expect, test } from "vitest";
import { ConfigFailure } from "../../src/config/failure.ts";
import { parseConfig } from "../../src/config/parser.ts";

/** Parses, or refuses with a `ConfigFailure` that names at least one place. */
function parseOrRefuse(text: string): void {
  try {
    parseConfig(text);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigFailure);
    expect((error as ConfigFailure).problems.length).toBeGreaterThan(0);
    expect((error as ConfigFailure).code).toBe("usage");
  }
}

test("any text is a configuration or refused as one", () => {
  assert(property(string({ unit: "binary" }), parseOrRefuse));
});

/** Keys that exist, and some that only look as if. */
const KEYS = constantFrom(
  ..."server tls store tokens clusters main retention standbys s1 spool log client".split(" "),
  ..."listen socket kind path name sha256 scopes keep_for keep_bytes interval".split(" "),
  ..."system_identifier timeout cluster level __proto__ constructor a/b ~1 0".split(" "),
  "",
);
const TEXTS = constantFrom("", "disk", "s3", "/a", "7d", "16MB", "0660", "*", "main", "unix:/s");
const SCALARS = oneof(
  TEXTS.map((text) => JSON.stringify(text)),
  constantFrom("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "inf", "-nan", "1e400"),
  constantFrom("true", "false", "0", "-1", "1.5", "9223372036854775807", "-9223372036854775808"),
);
const { value: VALUES } = letrec<{ value: string }>((tie) => ({
  value: oneof(
    { weight: 5, arbitrary: SCALARS },
    array(tie("value"), { maxLength: 3 }).map((items) => `[${items.join(", ")}]`),
    uniqueArray(tuple(KEYS, tie("value")), { maxLength: 4, selector: ([key]) => key }).map(
      (pairs) => `{${pairs.map((pair) => pairText(pair)).join(", ")}}`,
    ),
  ),
}));

function pairText([key, value]: readonly [string, string]): string {
  return `${JSON.stringify(key)} = ${value}`;
}

test("any TOML of known keys and wrong values is a configuration or refused as one", () => {
  const files = uniqueArray(tuple(KEYS, VALUES), { maxLength: 6, selector: ([key]) => key }).map(
    (pairs) => pairs.map(pairText).join("\n"),
  );
  assert(property(files, parseOrRefuse), { numRuns: 500 });
});

test("the sample with any of its values replaced is a configuration or refused as one", () => {
  const path = new URL("../../config/walarc.toml", import.meta.url);
  const lines = readFileSync(path, "utf8")
    .replaceAll(/^#(?=[^ \n])/gm, "")
    .split("\n");
  const settings = [...lines.entries()].filter(([, line]) => / = /.test(line));
  const changed = tuple(constantFrom(...settings), VALUES).map(([[at, line], value]) =>
    lines
      .with(
        at,
        line.replace(/ = .*/, () => ` = ${value}`),
      )
      .join("\n"),
  );
  assert(property(changed, parseOrRefuse), { numRuns: 500 });
});

test("a file with `__proto__` changes no object's prototype", () => {
  parseOrRefuse('[__proto__]\nlisten = "polluted"\n[store.__proto__]\npath = "/polluted"');
  expect(({} as Record<string, unknown>)["listen"]).toBeUndefined();
  expect(() => parseConfig('[store]\npath = "/a"\n[__proto__]\nx = 1')).toThrow(/__proto__/);
});
