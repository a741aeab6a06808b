import { expect, test } from "vitest";
import { segmentTexts, signal, Stage } from "./stage.ts";

test("a primary that does not answer any more may be a standby again, and keeps all", async () => {
  await using stage = await Stage.open({ policy: { keepBackups: 0 } });
  await stage.pushSegments(1, 6);
  await stage.report("s1", 5);
  const { register } = await stage.retention;
  await register.reportPrimary("s2", { signal });
  expect(await stage.plan()).toEqual(segmentTexts(1, 4));
  register.reportTrouble("s2", "connection refused");
  expect(await stage.plan()).toEqual([]);
  await register.reportPrimary("s2", { signal });
  expect(await stage.plan()).toEqual(segmentTexts(1, 4));
});
