import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { helpText } from "../../src/cli/help.ts";
import { TABLE_KEYS } from "../../src/config/client-keys.ts";
import { FAILURES, STOP_STATUS } from "../../src/errors.ts";

const MANUAL = readFileSync("docs/man/walarc.1", "utf8");
const COMPLETION = "config/completion/walarc.bash";

/** As the overview lists them. */
const COMMANDS = [...helpText(undefined).matchAll(/^ {2}([a-z-]+) /gm)].map(
  ([, name = ""]) => name,
);

/** What `walarc COMMAND --help` speaks of. */
function flagsOf(command: string): string[] {
  const found = [...helpText(command).matchAll(/--[a-z][a-z-]*/g)].map(([flag]) => flag);
  return [...new Set(found)].sort();
}

describe("the manual page", () => {
  test("is sound mdoc", () => {
    const said = execFileSync("mandoc", ["-T", "lint", "-W", "warning", "docs/man/walarc.1"]);
    expect(said.toString()).toBe("");
  });

  test.each(COMMANDS)("explains %s with every option of its help", (command) => {
    const synopsis = new RegExp(`^\\.Cm ${command}( |$)`, "m");
    expect(MANUAL).toMatch(synopsis);
    if (command !== "help") expect(MANUAL).toMatch(new RegExp(`^\\.It Cm ${command}$`, "m"));
    for (const flag of flagsOf(command)) expect(MANUAL).toMatch(mdocFlag(flag));
  });

  test("speaks of no option that does not exist", () => {
    const known = [...COMMANDS.flatMap(flagsOf), "--help", "--version", "--verbose"];
    const told = [...MANUAL.matchAll(/Fl -([a-z-]+)/g)].map(([, name = ""]) => `--${name}`);
    expect(told.filter((flag) => !known.includes(flag))).toEqual([]);
  });

  test("names every variable of the environment", () => {
    const told = [...MANUAL.matchAll(/^\.It Ev (\w+)$/gm)].map(([, name = ""]) => name);
    const known = [...TABLE_KEYS, "config"].map(
      (key) => `WALARC_${key.toUpperCase().replaceAll("-", "_")}`,
    );
    expect(told.sort()).toEqual(known.sort());
  });

  test("gives every exit status its name", () => {
    const section = /\.Sh EXIT STATUS\n([\s\S]*?)\.El/.exec(MANUAL)?.[1] ?? "";
    const told = [...section.matchAll(/^\.It (\d+)\n([a-z-]+)/gm)].map(([, status, name]) => {
      return [name, Number(status)] as const;
    });
    const known = Object.entries(FAILURES)
      .filter(([code]) => code !== "unknown-cluster")
      .map(([code, { exit }]) => [code, exit]);
    expect(new Map(told)).toEqual(
      new Map([["ok", 0], ["stop", STOP_STATUS], ...known] as [string, number][]),
    );
  });
});

describe("completion in bash", () => {
  test("offers every command", () => {
    expect(complete("walarc", "").filter((word) => !word.startsWith("-"))).toEqual(
      [...COMMANDS].sort(),
    );
    expect(complete("walarc", "st")).toEqual(["standby", "status"]);
  });

  test.each(COMMANDS)("offers every option of %s, and no others", (command) => {
    const offered = complete("walarc", command, "--").filter(
      (flag) => flag !== "--help" && flag !== "--verbose",
    );
    expect(offered).toEqual(flagsOf(command));
  });

  test("knows what follows", () => {
    expect(complete("walarc", "hold", "")).toEqual(expect.arrayContaining(["add", "ls", "rm"]));
    expect(complete("walarc", "fetch", "--on-error", "s")).toEqual(["stop"]);
    expect(complete("walarc", "check-config", "package.js")).toEqual(["package.json"]);
    expect(complete("walarc", "ls", "--config", "package.js")).toEqual(["package.json"]);
    expect(complete("walarc", "ls", "--cluster", "")).toEqual([]);
  });
});

function mdocFlag(flag: string): RegExp {
  return new RegExp(`\\bFl -${flag.slice(2)}\\b`);
}

/** What bash would offer for the last word, in order. */
function complete(...words: readonly string[]): string[] {
  const script = `source ${COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _walarc
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const said = execFileSync("bash", ["-c", script, "bash", ...words]).toString();
  return said
    .split("\n")
    .filter((word) => word !== "")
    .sort();
}
