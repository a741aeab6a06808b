import type { Reporter, TestModule } from "vitest/node";

/**
 * Ends the run with one line for people and machines: `N passed, N failed, N skipped`. What failed
 * outside any test counts as a failure, and on CI so does a skipped test: there everything that the
 * tests need is installed.
 */
export class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, unhandledErrors.length, 0];
    for (const module of modules) {
      let failedInModule = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else if (state === "failed") failedInModule += 1;
        else skipped += 1;
      }
      // A file that could not be loaded, or a hook that threw, has no test to blame.
      failed += failedInModule === 0 && !module.ok() ? 1 : failedInModule;
    }
    if (process.env["CI"] === "true" && skipped > 0) {
      process.exitCode = 1;
      process.stdout.write("skipped tests are failures on CI\n");
    }
    process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}
