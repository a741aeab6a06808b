import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const README = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const SCRIPT = fileURLToPath(new URL("../.ci/run", import.meta.url));

test("CI installs the packages that the README names, and runs the tests as a person would", () => {
  const directory = mkdtempSync(join(tmpdir(), "walarc-"));
  try {
    // Stand-ins that tell what they were called with.
    mkdirSync(join(directory, "bin"));
    for (const program of ["apt-get", "npm"]) {
      const script = `#!/bin/sh\necho "${program} $*"\n`;
      writeFileSync(join(directory, "bin", program), script, { mode: 0o755 });
    }
    const env = { PATH: `${join(directory, "bin")}:/usr/bin:/bin` };
    const calls = execFileSync(SCRIPT, { env, encoding: "utf8" }).trim().split("\n");

    expect(calls).toEqual([
      "apt-get update",
      `apt-get install --yes --no-install-recommends ${packagesOfReadme().join(" ")}`,
      "npm ci",
      "npm test",
    ]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("the README names every program of the system that the tests call", () => {
  const packages = packagesOfReadme();
  expect(packages).toEqual(
    expect.arrayContaining([
      "curl",
      "openssl",
      "postgresql-15",
      "prometheus",
      "radosgw",
      "shellcheck",
      "strace",
      "systemd",
      "xfsprogs",
      "zstd",
    ]),
  );
  expect(packages).toEqual([...packages].sort());
});

/** The words in the first code block below the mark. */
function packagesOfReadme(): string[] {
  const below = README.slice(README.indexOf("system packages: read by .ci/run"));
  return (below.split("```")[1] ?? "").trim().split(/\s+/);
}
