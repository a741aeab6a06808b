import { describe, expect, test } from "vitest";
import {
  importsOf,
  readSourceTree,
  type SourceTree,
  withoutComments,
} from "./support/source-tree.ts";

/**
 * Who may import whom, lowest layer first. A row sees its own folder and what it names, no more;
 * `types:` allows `import type` only. To change the architecture, change this table and
 * ARCHITECTURE.md in one commit.
 */
const MAY_IMPORT: Readonly<Record<string, string>> = {
  "errors.ts": "",
  "version.ts": "",
  "token.ts": "",
  "wal/": "errors.ts",
  "store/store.ts": "",
  "object/": "errors.ts types:store/store.ts",
  "disk/": "errors.ts",
  "config/": "errors.ts wal/",
  "telemetry/": "",
  "lifecycle.ts": "",
  "postgres/": "errors.ts types:config/",
  "client/": "errors.ts wal/ config/",
  "ahead/": "errors.ts wal/ client/",
  "import/": "errors.ts wal/ client/",
  "store/": "errors.ts types:config/ disk/ object/ telemetry/",
  "retention/": "errors.ts wal/ store/store.ts",
  "spool/": "errors.ts wal/ disk/ lifecycle.ts",
  "archive/":
    "errors.ts wal/ object/ store/store.ts retention/ types:spool/ lifecycle.ts telemetry/",
  "http/": "errors.ts version.ts token.ts wal/ retention/ archive/ object/ telemetry/ lifecycle.ts",
  "stores.ts": "config/ store/ telemetry/",
  "gauges.ts": "telemetry/ types:archive/ retention/ types:spool/ types:http/",
  "listeners.ts": "config/ telemetry/ lifecycle.ts http/",
  "spools.ts": "errors.ts config/ telemetry/ spool/ archive/",
  "reload.ts": "errors.ts config/ telemetry/ types:archive/ types:listeners.ts types:spools.ts",
  "daemon.ts":
    "version.ts config/ disk/ telemetry/ lifecycle.ts postgres/ archive/ " +
    "stores.ts gauges.ts listeners.ts spools.ts reload.ts",
  "cli/":
    "errors.ts version.ts token.ts wal/ config/ telemetry/ lifecycle.ts client/ ahead/ import/ " +
    "daemon.ts types:archive/ types:retention/",
  "commands.ts": "errors.ts version.ts cli/",
  "standalone.ts": "errors.ts version.ts cli/",
  "standalone/": "",
  "main.ts": "errors.ts version.ts cli/ commands.ts",
};

const ROLES = /^(utils?|lib|helpers?|common|types?|interfaces?|misc|managers?|shared|index)$/;
const UNNAMED_EXPORT = /^export (?:default\b|\{[^}]*\bas default\b|[^;"']*\bfrom ").*$/gm;
const IMPURE =
  /\b(?:Date|Temporal|performance|Math\.random|crypto|process|Buffer|globalThis|async|await)\b/;
const WAITING = /\b(?:set(?:Timeout|Interval|Immediate)|queueMicrotask|fetch)\(/;

const RULES: Readonly<Record<string, (path: string, text: string) => readonly string[]>> = {
  "imports go down the layers": (path, text) => {
    const row = rowOf(path);
    if (row === undefined) return ["has no row in MAY_IMPORT"];
    return importsOf(path, text)
      .filter((found) => found.path !== undefined && !mayImport(row, found.path, found.kind))
      .map((found) => `→ ${found.path}`);
  },

  "the core is pure: no Node, no package, no clock, no chance, no waiting": (path, text) => {
    if (path !== "errors.ts" && rowOf(path) !== "wal/") return [];
    const foreign = importsOf(path, text).filter((found) => found.path === undefined);
    const code = withoutComments(text);
    const [word] = IMPURE.exec(code) ?? WAITING.exec(code) ?? [];
    return [
      ...foreign.map((found) => `→ ${found.specifier}`),
      ...(word === undefined ? [] : [word]),
    ];
  },

  "only main.ts, commands.ts and cli/ read the arguments and end the process": (path, text) => {
    if (["main.ts", "commands.ts", "cli/"].includes(rowOf(path) ?? "")) return [];
    return usesOfProcess(text, "exit|exitCode|abort|argv");
  },

  "only main.ts, commands.ts, cli/ and config/ read the environment": (path, text) => {
    if (["main.ts", "commands.ts", "cli/", "config/"].includes(rowOf(path) ?? "")) return [];
    return usesOfProcess(text, "env");
  },

  "an import names the file it needs: no default exports, no re-exports": (_path, text) => {
    return withoutComments(text).match(UNNAMED_EXPORT) ?? [];
  },

  "a file is named after what it is about": (path) => {
    return path
      .replace(/(\.test)?\.ts$/, "")
      .split("/")
      .every(isNoun)
      ? []
      : [path];
  },

  "a file fits in a few screens, a line on one": (_path, text) => {
    const lines = text.trimEnd().split("\n");
    const wide = lines.flatMap((line, at) => (isWide(line) ? [`line ${at + 1} is wide`] : []));
    return lines.length > 300 ? [`${lines.length} lines`, ...wide] : wide;
  },
};

const RULES_OF_TESTS = [
  "an import names the file it needs: no default exports, no re-exports",
  "a file is named after what it is about",
  "a file fits in a few screens, a line on one",
];

describe("src", () => {
  const tree = readSourceTree("src");

  test.each(Object.keys(RULES))("%s", (rule) => {
    expect(tree.size).toBeGreaterThan(20);
    expect(broken(rule, tree)).toEqual([]);
  });

  test("imports never run in a circle", () => {
    expect(circleIn(tree)).toBeUndefined();
  });

  test("what starts with every WAL file needs nothing but Node", () => {
    expect(packagesOf("main.ts", tree)).toEqual([]);
  });
});

describe("test", () => {
  test.each(RULES_OF_TESTS)("%s", (rule) => {
    expect(broken(rule, readSourceTree("test"))).toEqual([]);
  });
});

test("the table itself goes down", () => {
  const rows = Object.keys(MAY_IMPORT);
  for (const [at, row] of rows.entries()) {
    const below = rows.slice(0, at).flatMap((lower) => [lower, `types:${lower}`]);
    expect(below).toEqual(expect.arrayContaining(namedBy(row)));
  }
});

describe("a rule finds what it forbids", () => {
  const [layers, pure, ending, environment, exports, names, sizes] = Object.keys(RULES);

  test.each([
    [layers, "wal/x.ts", 'import { a } from "../archive/archive.ts";'],
    [layers, "wal/x.ts", 'import type { A } from "../store/store.ts";'],
    [layers, "wal/x.ts", 'export const a = () => import("../disk/lock.ts");'],
    [layers, "archive/x.ts", 'import {\n  a,\n} from "../store/disk.ts";'],
    [layers, "object/x.ts", 'import { a } from "../store/store.ts";'],
    [layers, "object/x.ts", 'import { type A } from "../store/store.ts";'],
    [layers, "store/x.ts", 'import { a } from "../archive/archive.ts";'],
    [layers, "http/x.ts", 'import type { Store } from "../store/store.ts";'],
    [layers, "cli/x.ts", 'import { Archive } from "../archive/archive.ts";'],
    [layers, "config/x.ts", 'import "../main.ts";'],
    [layers, "wal/x.ts", 'import { a } from "../../test/support/wal-maker.ts";'],
    [layers, "new/x.ts", ""],
    [pure, "wal/x.ts", 'import { join } from "node:path";'],
    [pure, "wal/x.ts", 'import pino from "pino";'],
    [pure, "errors.ts", "const at = Date.now();"],
    [pure, "wal/x.ts", "const at = new Date();"],
    [pure, "wal/x.ts", "const n = Math.random();"],
    [pure, "wal/x.ts", "setTimeout(work, 1);"],
    [pure, "wal/x.ts", "const { pid } = process;"],
    [pure, "wal/x.ts", "async function f() {}"],
    [ending, "archive/x.ts", "process.exit(1);"],
    [ending, "daemon.ts", "process.exitCode = 1;"],
    [ending, "config/x.ts", "const [, , command] = process.argv;"],
    [ending, "http/x.ts", 'import { exit } from "node:process";'],
    [environment, "store/x.ts", "const home = process.env.HOME;"],
    [environment, "daemon.ts", 'const home = process["env"].HOME;'],
    [environment, "daemon.ts", "const { env } = process;"],
    [environment, "telemetry/x.ts", 'import { env } from "node:process";'],
    [exports, "http/x.ts", "export default function f() {}"],
    [exports, "http/x.ts", "export { f as default };"],
    [exports, "http/x.ts", 'export { f } from "./f.ts";'],
    [exports, "http/x.ts", 'export * from "./f.ts";'],
    [names, "http/index.ts", ""],
    [names, "http/httpUtils.ts", ""],
    [names, "utils/size.ts", ""],
    [sizes, "http/x.ts", "\n".repeat(300) + "x"],
    [sizes, "http/x.ts", "x".repeat(101)],
  ])("%s: %s %j", (rule, path, text) => {
    expect(broken(rule ?? "", new Map([[path, text]]))).not.toEqual([]);
  });

  test.each([
    [layers, "wal/x.ts", 'import { a } from "./y.ts";\nimport { b } from "../errors.ts";'],
    [layers, "object/x.ts", 'import type { Store } from "../store/store.ts";'],
    [layers, "store/disk.ts", 'import type { Store } from "./store.ts";'],
    [layers, "cli/x.ts", 'import type { Status } from "../archive/status.ts";'],
    [pure, "wal/x.ts", "/** Reads no Date. */\nconst a = 1; // as process does"],
    [pure, "archive/x.ts", 'import { join } from "node:path";\nconst at = Date.now();'],
    [ending, "cli/x.ts", "process.exit(Number(process.argv[2]));"],
    [ending, "archive/x.ts", "const exitStatus = process.pid;"],
    [environment, "config/x.ts", "const home = process.env.HOME;"],
    [exports, "http/x.ts", 'export const a = "from";\nconst b = "as default ";'.slice(0, 24)],
    [names, "http/wal-routes.ts", ""],
    [sizes, "http/x.ts", `${"x\n".repeat(299)}${"x".repeat(100)}\n`],
    [sizes, "wal/x.test.ts", `  test("${"x".repeat(100)}", () => {`],
  ])("and lets the rest be: %s: %s %j", (rule, path, text) => {
    expect(broken(rule ?? "", new Map([[path, text]]))).toEqual([]);
  });

  test.each([
    ["import { c }", "wal/b.ts → wal/c.ts → wal/b.ts"],
    ["import type { C }", undefined],
  ])("circles, other than of types: %s", (statement, circle) => {
    const tree = new Map([
      ["wal/a.ts", 'import { b } from "./b.ts";'],
      ["wal/b.ts", `${statement} from "./c.ts";`],
      ["wal/c.ts", 'import { b } from "./b.ts";'],
    ]);
    expect(circleIn(tree)).toBe(circle);
  });

  test("packages that would load with every WAL file", () => {
    const tree = new Map([
      ["main.ts", 'import { a } from "./cli/a.ts";\nconst late = () => import("./late.ts");'],
      ["cli/a.ts", 'import "node:fs";\nimport type { P } from "pg";\nimport pino from "pino";'],
      ["late.ts", 'import fastify from "fastify";'],
    ]);
    expect(packagesOf("main.ts", tree)).toEqual(["cli/a.ts → pino"]);
  });
});

function broken(rule: string, tree: SourceTree): string[] {
  return [...tree].flatMap(([path, text]) => {
    return (RULES[rule]?.(path, text) ?? ["no such rule"]).map((fault) => `${path}: ${fault}`);
  });
}

/** The title of a test is a sentence, and stays in one piece. */
const isWide = (line: string) => line.length > 100 && !/^\s*(?:test|describe)\("/.test(line);

function isNoun(part: string): boolean {
  return /^[a-z0-9]+(-[a-z0-9]+)*$/.test(part) && !ROLES.test(part);
}

/** The most particular row: the file's own, else its folder's. */
function rowOf(path: string): string | undefined {
  const folder = path.slice(0, path.indexOf("/") + 1);
  return [path, folder].find((row) => Object.hasOwn(MAY_IMPORT, row));
}

function namedBy(row: string): string[] {
  return MAY_IMPORT[row]?.split(" ").filter(Boolean) ?? [];
}

function mayImport(row: string, target: string, kind: "values" | "types" | "late"): boolean {
  if (row.endsWith("/") && target.startsWith(row)) return true;
  return namedBy(row).some((entry) => {
    const allowed = entry.replace(/^types:/, "");
    if (allowed !== entry && kind !== "types") return false;
    return allowed.endsWith("/") ? target.startsWith(allowed) : target === allowed;
  });
}

function usesOfProcess(text: string, members: string): string[] {
  const taken = `\\{[^}]*\\b(?:${members})\\b[^}]*\\}\\s*`;
  const direct = `\\bprocess(?:\\??\\.|\\[["'])(?:${members})\\b`;
  const use = new RegExp(`${direct}|${taken}=\\s*process\\b|${taken}from "node:process"`, "g");
  return withoutComments(text).match(use) ?? [];
}

function circleIn(tree: SourceTree): string | undefined {
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(" → ");
    if (done.has(path)) return undefined;
    for (const found of importsOf(path, tree.get(path) ?? "")) {
      if (found.kind === "types") continue; // a part may name the whole it belongs to
      const circle = found.path && visit(found.path, [...trail, path]);
      if (circle) return circle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of tree.keys()) {
    const circle = visit(path, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

function packagesOf(entry: string, tree: SourceTree): string[] {
  const seen = new Set([entry]);
  const packages: string[] = [];
  for (const path of seen) {
    for (const found of importsOf(path, tree.get(path) ?? "")) {
      if (found.kind !== "values") continue;
      if (found.path !== undefined) seen.add(found.path);
      else if (!found.specifier.startsWith("node:")) packages.push(`${path} → ${found.specifier}`);
    }
  }
  return packages;
}
