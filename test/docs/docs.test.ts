import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cannotTry } from "../support/machine.ts";
import { type Host, Hosts } from "./hosts.ts";
import { type PlacedStep, type Step, stepsOf } from "./script.ts";

/** What is done in each is there for the next, as for a reader. */
const IN_ORDER = ["install", "setup", "restore", "moving", "upgrade", "security"];

let hosts: Hosts | undefined;
let missing = "";
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "walarc-"));
  try {
    hosts = await Hosts.boot();
  } catch (error) {
    missing = error instanceof Error ? error.message : String(error);
  }
}, 120_000);

afterAll(async () => {
  await hosts?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

describe("a reader who does what is written arrives", () => {
  test.for(IN_ORDER)("docs/%s.md", { timeout: 240_000 }, async (name, { skip }) => {
    const there = hosts ?? cannotTry("the documents", missing, skip);
    await follow(there, stepsOf(readFileSync(`docs/${name}.md`, "utf8")));
  });
});

test("every page is reached from another, and every link leads somewhere", () => {
  const pages = ["README.md", ...readdirSync("docs").map((name) => join("docs", name))];
  const linked = new Set<string>();
  for (const page of pages.filter((name) => name.endsWith(".md"))) {
    const text = readFileSync(page, "utf8");
    for (const [, target = ""] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target)) continue;
      const path = join(dirname(page), target);
      expect(() => readFileSync(path), `${page} links to ${target}`).not.toThrow(/ENOENT/);
      linked.add(path);
    }
  }
  const orphans = pages.filter((name) => name.startsWith("docs/") && name.endsWith(".md"));
  expect(orphans.filter((name) => !linked.has(name))).toEqual([]);
});

test("a block of commands that nobody runs is found out", () => {
  expect(() => stepsOf("text\n```sh\nrm -rf /\n```\n")).toThrow(/line 2: a block that nobody runs/);
  expect(() => stepsOf("<!-- on mars as root -->\n```sh\nls\n```\n")).toThrow(/"mars" is no host/);
  expect(() => stepsOf("<!-- TODO -->\n```sh\nls\n```\n")).toThrow(/is no step/);
});

async function follow(on: Hosts, steps: readonly PlacedStep[]): Promise<void> {
  expect(steps.length).toBeGreaterThan(0);
  let printed = "";
  for (const { step, line } of steps) {
    if (step.kind === "prints") {
      expect(printed, `printed before line ${line}`).toContain(step.text);
      continue;
    }
    try {
      printed = await take(on, step);
    } catch (error) {
      throw new Error(`line ${line}: ${(error as Error).message}`, { cause: error });
    }
  }
}

async function take(on: Hosts, step: Exclude<Step, { kind: "prints" }>): Promise<string> {
  switch (step.kind) {
    case "run":
      return await runAs(on, step);
    case "file":
      return await write(on, step.host, step);
    case "copy":
      return await copy(on, step);
  }
}

/** As in a login: the user's own directory, and the first failure ends it. */
function runAs(
  on: Hosts,
  { host, user, text }: { host: Host; user: string; text: string },
): Promise<string> {
  const script = `cd; set -eu -o pipefail; ${text}`;
  return on.machine(host).require("runuser", "--login", user, "--command", script);
}

function write(
  on: Hosts,
  host: Host,
  { path, text }: { path: string; text: string },
): Promise<string> {
  return on.machine(host).require("sh", "-c", `printf '%s' "$2" > "$1"`, "sh", path, text);
}

/** In place of whatever the reader brings files over with; it keeps no owner, as those do not. */
async function copy(on: Hosts, step: Extract<Step, { kind: "copy" }>): Promise<string> {
  const rootOf = async (host: Host) => `/proc/${on.machine(host).pid}/root`;
  const [from, to] = [step.from, step.to];
  const source = (await rootOf(from[0])) + from[1];
  const target = (await rootOf(to[0])) + to[1];
  return execFileSync("cp", ["-r", source, target]).toString();
}
