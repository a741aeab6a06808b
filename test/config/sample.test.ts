import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { TSchema } from "typebox";
import { parseConfig } from "../../src/config/parser.ts";
import { fileSchema, STORES } from "../../src/config/schema.ts";
import { parseDurationMs } from "../../src/config/units.ts";

const SAMPLE = readFileSync(new URL("../../config/walarc.toml", import.meta.url), "utf8");
const UNIT = readFileSync(new URL("../../systemd/walarc.service", import.meta.url), "utf8");
/** What is switched off in the sample begins with "#" and no space. */
const SWITCHED_ON = SAMPLE.replaceAll(/^#(?=[^ \n])/gm, "");

test("the sample is valid as it stands and warns of nothing", () => {
  const config = parseConfig(SAMPLE);
  expect(config.warnings).toEqual([]);
  expect(config).toEqual(parseConfig('[store]\npath = "/var/lib/walarc"'));
});

test("what is switched off in the sample is right too", () => {
  // A file has one store only.
  const s3 = /^\[store\]\nkind = "s3"\n(?:(?:\w|# ).*\n)+/m;
  const [table = ""] = s3.exec(SWITCHED_ON) ?? [];
  expect(parseConfig(table).store).toMatchObject({ kind: "s3", kmsKeyId: "alias/walarc" });
  expect(parseConfig(SWITCHED_ON.replace(s3, "")).warnings).toEqual([]);
});

test("the sample has every key there is", () => {
  for (const store of Object.values(STORES)) {
    for (const key of keysOf(fileSchema(store))) {
      expect(SWITCHED_ON).toMatch(new RegExp(`^(\\[\\[?([\\w.]+\\.)?)?${key}\\b`, "m"));
    }
  }
});

test("systemd starts the command where the README puts it", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, path] = /^ExecStart=(\S+) serve /m.exec(UNIT) ?? [];
  expect(readme).toContain(`link \`bin/walarc\` to \`${path}\``);
});

test("systemd waits longer for the daemon's end than the daemon for its requests", () => {
  const graceMs = parseDurationMs(/^shutdown_grace = "(.*)"/m.exec(SAMPLE)?.[1] ?? "");
  const stopSeconds = Number(/^TimeoutStopSec=(\d+)$/m.exec(UNIT)?.[1]);
  expect(graceMs).toBeGreaterThan(0);
  expect(stopSeconds * 1000).toBeGreaterThanOrEqual((graceMs ?? Number.NaN) + 5000);
});

test("the unit keeps what the sample names: its directories, and V8's compiler", () => {
  expect(UNIT).toMatch(/^StateDirectory=walarc$/m);
  expect(UNIT).toMatch(/^RuntimeDirectory=walarc$/m);
  expect(UNIT).not.toMatch(/^MemoryDenyWriteExecute=/m);
});

/** The names of all keys in a schema, at any depth. */
function keysOf(schema: TSchema): string[] {
  const {
    properties = {},
    additionalProperties,
    items,
  } = schema as {
    properties?: Record<string, TSchema>;
    additionalProperties?: TSchema | boolean;
    items?: TSchema;
  };
  return [
    ...Object.entries(properties).flatMap(([key, value]) => [key, ...keysOf(value)]),
    ...(typeof additionalProperties === "object" ? keysOf(additionalProperties) : []),
    ...(items === undefined ? [] : keysOf(items)),
  ];
}
