import { afterEach, beforeEach, expect, test } from "vitest";
import { type Ask, Inquiry, type ServerAnswer } from "../../src/archive/inquiry.ts";
import { startUpkeep } from "../../src/archive/upkeep.ts";
import { WalarcError } from "../../src/errors.ts";
import { standbyStatuses } from "../../src/retention/overview.ts";
import { segmentText, segmentTexts, signal, Stage } from "../retention/stage.ts";
import { eventually } from "../support/eventually.ts";
import { SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

let stage: Stage;
beforeEach(async () => {
  stage = await Stage.open({ policy: { keepBackups: 0, intervalMs: 1 }, standbys: ["s1"] });
  await stage.pushSegments(1, 9);
});
afterEach(() => stage[Symbol.asyncDispose]());

const ANSWER: ServerAnswer = {
  role: "standby",
  systemIdentifier: SYSTEM_IDENTIFIER,
  restartPoint: segmentText(5),
};

/** What is known of s1 after it was asked, once for each answer. */
async function after(...answers: (Partial<ServerAnswer> | Error)[]) {
  const [cluster] = stage.archive.loadedClusters();
  if (cluster === undefined) throw new Error("the cluster is not loaded");
  for (const answer of answers) {
    const inquiry = new Inquiry(cluster, "s1", async () => {
      if (answer instanceof Error) throw answer;
      return { ...ANSWER, ...answer };
    });
    await inquiry.step({ signal });
  }
  const { register } = cluster.retention;
  return standbyStatuses(await register.load({ signal }), register)[0];
}

test("an answer is a restart point like any other", async () => {
  expect(await after({})).toMatchObject({ restartPoint: segmentText(5), source: "sql" });
  expect(await stage.plan()).toEqual(segmentTexts(1, 4));
});

test.each<[string, Partial<ServerAnswer> | Error, string]>([
  ["a server of another database cluster", { systemIdentifier: "12" }, "another database cluster"],
  [
    "a primary of another database cluster",
    { systemIdentifier: "12", role: "primary" },
    "another database cluster",
  ],
  ["a restart point far ahead", { restartPoint: segmentText(100) }, "ahead of the newest"],
  ["no restart point", { restartPoint: "0".repeat(24) }, "all zeros"],
  ["no answer", new WalarcError("unreachable", "nobody is there"), "nobody is there"],
])("%s changes no claim, and is told", async (_what, answer, why) => {
  expect(await after(answer)).toMatchObject({ restartPoint: null, problem: expect.any(String) });
  expect(await stage.plan()).toEqual([]);
  expect(await after({}, answer)).toMatchObject({
    restartPoint: segmentText(5),
    problem: expect.stringContaining(why),
  });
  expect(await stage.plan()).toEqual(segmentTexts(1, 4));
  expect(await after({})).not.toHaveProperty("problem");
});

test("a primary claims nothing, and a standby again once it is one", async () => {
  await stage.report("s2", 8);
  expect(await after({}, { role: "primary" })).toMatchObject({ role: "primary", heldBytes: 0 });
  expect(await stage.plan()).toEqual(segmentTexts(1, 7));
  expect(stage.logged("standby is a primary and claims nothing")).toHaveLength(1);
  expect(await after({})).not.toHaveProperty("role");
  expect(await stage.plan()).toEqual(segmentTexts(1, 4));
});

test("who does not answer is asked less and less often, and its trouble is logged once", async () => {
  await stage.restart({ policy: { intervalMs: 40 }, standbys: ["s1"] });
  const [cluster] = stage.archive.loadedClusters();
  await cluster?.loaded({ signal });
  let asked = 0;
  const ask: Ask = async () => {
    asked += 1;
    throw new WalarcError("unreachable", "nobody is there");
  };
  const asks = () => new Map([["s1", ask]]);
  await using _upkeep = startUpkeep(stage.archive, { log: { warn: () => {} }, asks });
  const start = performance.now();
  await eventually("it was asked four times", () => asked >= 4, { intervalMs: 5 });
  // 40 + 80 + 160 ms, each less a tenth; at equal pauses it would be 120.
  expect(performance.now() - start).toBeGreaterThan(240);
  expect(stage.logged("standby does not tell its restart point")).toHaveLength(1);
});

test("upkeep prunes by itself, once per interval", async () => {
  await stage.restart({ policy: { keepBackups: 0, intervalMs: 100 } });
  await stage.report("s1", 4);
  await using _upkeep = startUpkeep(stage.archive, {
    log: { warn: () => {} },
    asks: () => new Map<string, Ask>(),
  });
  await eventually("what nobody needs is gone", async () => (await stage.stored()).length === 6);
  await stage.report("s1", 7);
  await eventually("and again", async () => (await stage.stored()).length === 3);
  expect(await stage.stored()).toEqual(segmentTexts(7, 9));
});
