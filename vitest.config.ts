import { defineConfig } from "vitest/config";
import { SummaryReporter } from "./test/support/summary-reporter.ts";

/** Older ones take a truncated zstd frame for a complete one: what they say would prove nothing. */
function requireNode(majorWanted: number, minorWanted: number): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > majorWanted || (major === majorWanted && minor >= minorWanted)) return;
  throw new Error(
    `the tests need Node ${majorWanted}.${minorWanted} or newer, and this is ${process.versions.node}: ` +
      "run `npm ci`, which brings one, and then `npm test`",
  );
}

requireNode(24, 20);

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Takes minutes and half a gigabyte from the network.
    exclude: process.env["WALARC_TEST_IMAGE"] === undefined ? ["test/container/build.test.ts"] : [],
    globalSetup: ["test/support/build.ts"],
    reporters: ["default", new SummaryReporter()],
    // Real servers, disks and processes, on machines that do other things as well. What must be fast
    // says so in its own test.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 4,
  },
});
