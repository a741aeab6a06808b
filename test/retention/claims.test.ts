import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { requireWalName } from "../../src/wal/name.ts";
import {
  makeBackupHistory,
  makeHistory,
  makePartial,
  MIB,
  type SegmentWish,
} from "../support/wal-maker.ts";
import { segment, segmentText, segmentTexts, signal, Stage } from "./stage.ts";

let stage: Stage;

beforeEach(async () => {
  stage = await Stage.open({ policy: { keepBackups: 0 } });
});
afterEach(() => stage[Symbol.asyncDispose]());

function backup(number: number, wish: Partial<SegmentWish> = {}) {
  return makeBackupHistory({ number, segmentSizeBytes: MIB, ...wish });
}

function standbyHeard(heardMs: string): string {
  return (
    `{"format":1,"restartPoint":"${segmentText(4)}","source":"report","role":"standby",` +
    `"reportedAt":"2026-01-01T00:00:00Z","heardMs":${heardMs}}`
  );
}

describe("nothing is removed", () => {
  test("while nobody claims anything", async () => {
    await stage.pushSegments(1, 5);
    expect(await stage.prune()).toEqual([]);
    expect(await stage.status()).toMatchObject({
      horizon: null,
      heldBy: [],
      explanation: expect.stringContaining("nothing is removed"),
    });
  });

  test("while a configured standby was never heard from, and the status names it", async () => {
    await stage.restart({ policy: { keepBackups: 0 }, standbys: ["s1", "s2"] });
    await stage.pushSegments(1, 5);
    await stage.report("s1", 4);
    expect(await stage.prune()).toEqual([]);
    expect(await stage.status()).toMatchObject({
      horizon: null,
      heldBy: [{ kind: "standby", name: "s2" }],
      explanation: 'nothing is removed because of standby "s2" (it was never heard from)',
    });
    await stage.report("s2", 3);
    expect(await stage.prune()).toEqual(segmentTexts(1, 2));
  });

  test.each([
    ["broken JSON", "standbys/s1.json", "{"],
    ["a field that is missing", "standbys/s1.json", '{"format":1,"restartPoint":null}'],
    ["a newer format", "standbys/s1.json", '{"format":2}'],
    ["nothing at all", "holds/h.json", ""],
    ["a time without end", "standbys/s1.json", standbyHeard("1e999")],
    ["a time of ten thousand years", "standbys/s1.json", standbyHeard("315360000000000")],
    ["a stranger", "holds/h.json~", "{}"],
    ["a name that is none", "standbys/S1.json", "{}"],
  ])("while a state object is %s", async (_what, path, content) => {
    await stage.pushSegments(1, 5);
    await stage.report("s1", 4);
    await stage.hold("h", 4);
    const file = join(stage.directory, "store/clusters/main", path);
    await writeFile(file, content);
    expect(await stage.prune()).toEqual([]);
    const { heldBy, explanation } = await stage.status();
    expect(heldBy).toHaveLength(1);
    expect(explanation).toContain("cannot be understood");
    await rm(file);
    expect(await stage.plan()).toEqual(segmentTexts(1, 3));
  });

  test("while a claim is on a timeline of which the archive knows nothing", async () => {
    await stage.pushSegments(1, 5);
    await stage.report("s1", 4, 7);
    expect(await stage.prune()).toEqual([]);
    expect((await stage.status()).explanation).toContain("knows nothing of timeline 7");
    await stage.push(makeHistory(7, [{ timeline: 1, switchLsn: "0/400028" }]));
    expect(await stage.prune()).toEqual(segmentTexts(1, 3));
  });

  test("while a window has no segment to count back from", async () => {
    await stage.restart({ policy: { keepBackups: 1, keepBytes: MIB } });
    await stage.push(backup(3), backup(5));
    expect(await stage.plan()).toEqual([]);
  });
});

describe("a restart point", () => {
  beforeEach(() => stage.pushSegments(1, 5));

  test.each([
    ["0".repeat(24), "all zeros"],
    ["00000001000000000000000a", "not the name of a segment"],
    ["000000010000000000000004.partial", "not the name of a segment"],
    ["00000002.history", "not the name of a segment"],
    ["../../../etc/passwd", "not the name of a segment"],
    ["0000000100000000FFFFFFFF", "cannot be"],
    [segmentText(70), "65 segments ahead"],
    [segmentText(4095), "4090 segments ahead"],
  ])("%s is refused, and changes nothing", async (restartPoint, why) => {
    await stage.report("s1", 2);
    const { register } = await stage.retention;
    const reporting = register.report("s1", restartPoint, { source: "report", signal });
    await expect(reporting).rejects.toMatchObject({
      code: "rejected",
      message: expect.stringContaining(why),
    });
    expect((await stage.status()).claims).toMatchObject([{ name: "s1", from: segmentText(2) }]);
  });

  test("a little ahead of the archive counts as the newest archived segment", async () => {
    await stage.report("s1", 69);
    expect((await stage.status()).claims).toMatchObject([{ from: segmentText(5) }]);
    await stage.pushSegments(6, 70);
    expect(await stage.plan()).toEqual(segmentTexts(1, 4));
  });

  test("of an archive without a segment is refused", async () => {
    await using empty = await Stage.open();
    const { register } = await empty.retention;
    const reporting = register.report("s1", segmentText(1), { source: "report", signal });
    await expect(reporting).rejects.toMatchObject({ code: "rejected" });
  });

  test("that moves back is believed, and logged", async () => {
    await stage.report("s1", 4);
    await stage.report("s1", 2);
    expect(await stage.plan()).toEqual(segmentTexts(1, 1));
    expect(stage.logged("restart point moved back")).toMatchObject([
      { standby: "s1", restartPoint: segmentText(2), from: segmentText(4) },
    ]);
  });

  test("outlives a restart, and so does a hold", async () => {
    await stage.report("s1", 4);
    await stage.hold("h", 3);
    await stage.restart();
    expect(await stage.plan()).toEqual(segmentTexts(1, 2));
  });

  test("is not believed of a server of another database cluster", async () => {
    const told = { systemIdentifier: "12", signal };
    await expect(stage.archive.retention("main", told)).rejects.toMatchObject({ code: "rejected" });
  });

  test.each(["", "S1", "a/b", "..", ".x", "x".repeat(101), "s 1", "s1\n"])(
    "is not taken under the name %j",
    async (name) => {
      const { register } = await stage.retention;
      const reporting = register.report(name, segmentText(2), { source: "report", signal });
      await expect(reporting).rejects.toMatchObject({ code: "usage" });
      await expect(register.forget(name, { signal })).rejects.toMatchObject({ code: "usage" });
    },
  );
});

describe("claims", () => {
  test("the least of standbys, backups, windows and holds is the horizon", async () => {
    await stage.restart({ policy: { keepBackups: 2, keepBytes: 4 * MIB } });
    await stage.pushSegments(1, 20);
    await stage.push(backup(5), backup(8), backup(12));
    await stage.report("s1", 15);
    expect(await stage.status()).toMatchObject({
      claims: [
        { kind: "standby", name: "s1", from: segmentText(15), stale: false },
        { kind: "backup", name: `${segmentText(12)}.00000028.backup`, from: segmentText(12) },
        { kind: "backup", name: `${segmentText(8)}.00000028.backup`, from: segmentText(8) },
        { kind: "window", name: "keep_bytes", from: segmentText(17) },
      ],
      horizon: segmentText(8),
      heldBy: [{ kind: "backup", name: `${segmentText(8)}.00000028.backup` }],
    });
    await stage.hold("h", 3);
    expect((await stage.status()).heldBy).toEqual([{ kind: "hold", name: "h" }]);
    await stage.report("s2", 3);
    expect((await stage.status()).heldBy).toEqual([
      { kind: "standby", name: "s2" },
      { kind: "hold", name: "h" },
    ]);
    await (await stage.retention).register.forget("s2", { signal });
    await (await stage.retention).register.removeHold("h", { signal });
    expect(await stage.prune()).toEqual([
      ...segmentTexts(1, 5),
      `${segmentText(5)}.00000028.backup`,
      ...segmentTexts(6, 7),
    ]);
  });

  test("what a removal leaves is exactly what store, catalog, listing and sums say", async () => {
    await stage.pushSegments(1, 8);
    await stage.push(
      makePartial({ number: 3, segmentSizeBytes: MIB, content: "sparse" }),
      makePartial({ number: 9, segmentSizeBytes: MIB, content: "sparse" }),
      makeHistory(2, [{ timeline: 1, switchLsn: "0/900028" }]),
      segment(9, { timeline: 2, pageTimeline: 1 }),
      backup(2),
    );
    await stage.report("s1", 6);
    const planned = await stage.plan();
    expect(planned).toHaveLength(7);
    expect(await stage.prune()).toEqual(planned);
    const left = [
      ...segmentTexts(6, 8),
      `${segmentText(9)}.partial`,
      "00000002.history",
      segmentText(9, 2),
    ];
    expect(await stage.stored()).toEqual([...left].sort());
    expect(await stage.listed()).toEqual([...left].sort());
    const before = await stage.status();
    expect(before.stored.files).toBe(6);
    expect(before.timelines.flatMap(({ gaps }) => gaps)).toEqual([]);
    await stage.restart();
    await Promise.all(stage.archive.loadedClusters().map(({ totals }) => totals.counted()));
    await stage.status();
    await Promise.all(stage.archive.loadedClusters().map(({ totals }) => totals.counted()));
    expect((await stage.status()).stored).toEqual(before.stored);
    expect(await stage.prune()).toEqual([]);
  });

  test("directories that a prune has emptied go, and come back with a late push", async () => {
    await stage.pushSegments(4094, 4097);
    await stage.report("s1", 4096);
    const logs = () => readdir(join(stage.directory, "store/clusters/main/wal/00000001"));
    expect((await logs()).sort()).toEqual(["00000000", "00000001"]);
    await stage.prune();
    expect(await logs()).toEqual(["00000001"]);
    await stage.pushSegments(4095, 4095);
    expect(await stage.stored()).toEqual(segmentTexts(4095, 4097).sort());
    await stage.restart();
    expect(await stage.prune()).toEqual(segmentTexts(4095, 4095));
    expect(await logs()).toEqual(["00000001"]);
  });

  test("a claim ahead of the archive leaves its newest segment, and a fetch finds a gap", async () => {
    await stage.pushSegments(1, 5);
    await stage.hold("h", 9);
    expect(await stage.prune()).toEqual(segmentTexts(1, 4));
    expect(await stage.status()).toMatchObject({
      latest: { name: segmentText(5) },
      horizon: segmentText(5),
      heldBy: [{ kind: "hold", name: "h" }],
    });
    const fetch = stage.archive.fetch("main", requireWalName(segmentText(3)), { signal });
    await expect(fetch).rejects.toMatchObject({ code: "gap" });
  });

  test("a hold must end in the future", async () => {
    await stage.pushSegments(1, 5);
    const { register } = await stage.retention;
    const until = new Date(Date.now() - 1);
    await expect(
      register.putHold("h", { from: segmentText(2), until, signal }),
    ).rejects.toMatchObject({ code: "usage" });
    await expect(
      register.putHold("h", { from: "rubbish", until: undefined, signal }),
    ).rejects.toMatchObject({ code: "rejected" });
  });

  test("a state object is written whole and says what it means", async () => {
    await stage.pushSegments(1, 5);
    await stage.report("s1", 4);
    const path = join(stage.directory, "store/clusters/main/standbys/s1.json");
    expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({
      format: 1,
      restartPoint: segmentText(4),
      source: "report",
      role: "standby",
    });
  });

  test("forgetting or removing what is not there says so", async () => {
    const { register } = await stage.retention;
    await expect(register.forget("s1", { signal })).rejects.toMatchObject({ code: "absent" });
    await expect(register.removeHold("h", { signal })).rejects.toMatchObject({ code: "absent" });
  });

  test("a standby found to be a primary claims nothing until it reports again", async () => {
    await stage.pushSegments(1, 6);
    await stage.report("s1", 5);
    await stage.report("s2", 2);
    const { register } = await stage.retention;
    await register.reportPrimary("s2", { signal });
    expect(await stage.plan()).toEqual(segmentTexts(1, 4));
    await stage.restart();
    expect(await stage.plan()).toEqual(segmentTexts(1, 4));
    await stage.report("s2", 3);
    expect(await stage.plan()).toEqual(segmentTexts(1, 2));
  });
});
