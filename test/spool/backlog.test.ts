import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Candidates } from "../../src/spool/candidates.ts";
import { SpoolDirectory } from "../../src/spool/directory.ts";
import { scanSpool, WINDOW_FILES } from "../../src/spool/scan.ts";
import { compareTurns, Turns } from "../../src/wal/turns.ts";
import { describeFaults, loopLength } from "../support/fault-tools.ts";
import { LoopMount } from "../support/loop-mount.ts";
import { segment, SpoolScene } from "../support/spool-scene.ts";
import { segmentNameOf, writeSegmentFile, MIB } from "../support/wal-maker.ts";

/** 100000 for the whole of it: some minutes, and the store takes as many files again. */
const FILES = loopLength("WALARC_SPOOL_BACKLOG", 2000);

const { signal } = new AbortController();

test("the first in turn of many names are the first, whatever their order", () => {
  const names = Array.from({ length: 3000 }, (_, at) => {
    return at % 100 === 0 ? `${String(at).padStart(8, "0")}.history` : String(at).padStart(24, "0");
  });
  const shuffled = names.map((name) => ({
    name,
    at: Math.sin(name.length * Number.parseInt(name, 10)),
  }));
  shuffled.sort((one, other) => one.at - other.at);
  const turns = new Turns(500);
  for (const { name } of shuffled) turns.offer(name);
  expect(turns.inTurn()).toEqual(names.sort(compareTurns).slice(0, 500));
  expect(turns.passed).toBe(2500);
});

describe("a backlog", () => {
  let scene: SpoolScene;
  beforeEach(async () => {
    scene = await SpoolScene.open();
  });
  afterEach(async () => {
    await scene[Symbol.asyncDispose]();
  });

  test("of 100000 files is read in little time and little memory", async () => {
    for (let number = 1; number <= 100_000; number += 1) {
      writeFileSync(scene.path(segmentNameOf({ number, segmentSizeBytes: MIB })), "");
    }
    const candidates = new Candidates({ settleMs: 1000, incompleteAfterMs: 60_000 });
    const directory = new SpoolDirectory(scene.directory);
    const nowMs = () => performance.now();
    const before = process.memoryUsage().heapUsed;
    const cpu = process.cpuUsage();
    const first = await scanSpool(directory, candidates, { scan: 1, nowMs, signal });
    const firstCpuMs = process.cpuUsage(cpu).user / 1000;
    const again = process.cpuUsage();
    await scanSpool(directory, candidates, { scan: 2, nowMs, signal });
    const againCpuMs = process.cpuUsage(again).user / 1000;

    expect(first).toEqual({ files: 100_000, hasMore: true });
    expect([...candidates.all()]).toHaveLength(WINDOW_FILES);
    expect(firstCpuMs).toBeLessThan(5000);
    expect(againCpuMs).toBeLessThan(2500);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(60 * MIB);
  });

  test("is drained at a steady rate, with nothing lost when it is stopped and started", async () => {
    const names = Array.from({ length: FILES }, (_, at) => {
      const wish = { number: at + 1, segmentSizeBytes: MIB, content: "sparse" } as const;
      return writeSegmentFile(scene.directory, wish);
    });
    await scene.start({ settleMs: 100 });
    const quarter = Math.floor(FILES / 4);
    const marks: number[] = [];
    for (let part = 1; part <= 4; part += 1) {
      await scene.until(
        `part ${part} is drained`,
        () => readdirSync(scene.directory).length - 1 <= FILES - part * quarter,
        600_000,
      );
      marks.push(performance.now());
      if (part !== 2) continue;
      await scene.stop();
      await scene.start({ settleMs: 100 });
    }
    await scene.drained(600_000);
    const parts = marks.map((at, index) => at - (marks[index - 1] ?? Number.NaN)).slice(1);
    expect(Math.max(...parts)).toBeLessThan(5 * Math.min(...parts) + 2000);
    const archived = await scene.archive.status("main", { signal });
    expect(archived.timelines).toMatchObject([{ ranges: [{ segments: names.length }], gaps: [] }]);
    expect(scene.rejected()).toEqual([]);
  }, 1_500_000);

  test("does not keep a new history file waiting", async () => {
    const order: string[] = [];
    for (let number = 1; number <= 60; number += 1) scene.put(segment(number));
    await scene.start({
      settleMs: 100,
      push: async (name, body, options) => {
        order.push(name.text);
        await new Promise((resolve) => setTimeout(resolve, 250));
        return scene.push(name, body, options);
      },
    });
    await scene.until("it is being drained", () => order.length > 4);
    writeFileSync(scene.path("00000002.history"), "1\t0/500000\tno recovery target specified\n");
    await scene.drained(60_000);
    expect(order.indexOf("00000002.history")).toBeLessThan(50);
  });
});

describeFaults("a full disk", { needs: ["root", "ext4"] }, () => {
  test("under the store keeps the spool's files, and its end needs no restart", async () => {
    await using mount = await LoopMount.create("ext4", { sizeBytes: 96 * MIB });
    const ballast = join(mount.path, "ballast");
    writeFileSync(ballast, Buffer.alloc(60 * MIB, 1));
    await using scene = await SpoolScene.open({ store: join(mount.path, "store") });
    const files = Array.from({ length: 40 }, (_, at) => segment(at + 1, { content: "dense" }));
    for (const file of files) scene.put(file);
    await scene.start({ settleMs: 100 });
    await scene.until("the store is full", () => scene.status.waitingSince !== null, 30_000);
    expect(scene.names().length).toBeGreaterThan(5);
    expect(scene.status.problem).toMatch(/no space is left/);
    expect(scene.rejected()).toEqual([]);
    // Asked in this order: while it tries again, one may still find room.
    for (const { name } of files) {
      if ((await scene.archived(name)) === undefined) expect(scene.names()).toContain(name);
    }
    rmSync(ballast);
    await scene.drained(60_000);
    for (const { name, bytes } of files) {
      expect((await scene.archived(name))?.equals(bytes), name).toBe(true);
    }
  });

  test("under the spool is seen before it is full", async () => {
    await using mount = await LoopMount.create("ext4", { sizeBytes: 64 * MIB });
    const directory = await mkdtemp(join(mount.path, "spool-"));
    await chmod(directory, 0o700);
    await using scene = await SpoolScene.open();
    const { spool } = await scene.start({ path: directory });
    await scene.until("its room is known", () => spool.room !== undefined);
    const { freeBytes, totalBytes } = spool.room ?? { freeBytes: 0, totalBytes: 0 };
    expect(totalBytes).toBeLessThan(64 * MIB);
    writeFileSync(join(mount.path, "ballast"), Buffer.alloc(freeBytes - MIB, 1));
    writeFileSync(join(directory, ".ring"), "");
    await scene.until(
      "it is known to be nearly full",
      () => (spool.room?.freeBytes ?? 0) < 2 * MIB,
    );
    await rm(join(mount.path, "ballast"));
  });
});
