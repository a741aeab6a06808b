import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import { missingOfRgw, Rgw } from "./rgw.ts";
import { cannotRun } from "./scene.ts";
import { Workspace } from "./workspace.ts";

/**
 * A `describe` whose tests share one gateway. Where Ceph is not installed it says so instead, and
 * fails in CI.
 */
export function describeRgw(title: string, body: (rgw: () => Rgw) => void): void {
  const missing = missingOfRgw();
  if (missing.length > 0) {
    describe(title, () => {
      test("needs Ceph's gateway", ({ skip }) => cannotRun(`no ${missing.join(", no ")}`, skip));
    });
    return;
  }

  describe(title, () => {
    const stack = new AsyncDisposableStack();
    let rgw: Rgw;
    beforeAll(async () => {
      const workspace = stack.use(await Workspace.create());
      rgw = stack.use(await Rgw.start(workspace));
    });
    afterEach(({ task }) => {
      if (task.result?.state !== "fail") return;
      process.stderr.write(`Ceph's last requests:\n${rgw?.requests().slice(-20).join("\n")}\n`);
    });
    afterAll(() => stack.disposeAsync());
    body(() => rgw);
  });
}
