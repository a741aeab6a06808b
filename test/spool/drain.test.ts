import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  openSync,
  renameSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { segment, SpoolScene } from "../support/spool-scene.ts";
import { makeBackupHistory, makeHistory, makePartial, MIB } from "../support/wal-maker.ts";

let scene: SpoolScene;
beforeEach(async () => {
  scene = await SpoolScene.open();
});
afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

describe("a spool", () => {
  test("archives what is put into it, byte for byte, and is empty then", async () => {
    await scene.start();
    const files = [
      segment(3),
      segment(4),
      makePartial({ number: 5, segmentSizeBytes: MIB }),
      makeBackupHistory({ number: 3, segmentSizeBytes: MIB }),
      makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }]),
    ];
    for (const file of files) scene.put(file);
    await scene.drained();
    for (const { name, bytes } of files) {
      expect((await scene.archived(name))?.equals(bytes), name).toBe(true);
    }
    expect(scene.rejected()).toEqual([]);
    expect(scene.counted.sort()).toEqual(Array.from({ length: 5 }, () => "archived"));
    expect(scene.status).toMatchObject({ files: 0, oldestAgeSeconds: 0, problem: null });
  });

  test("drains a backlog with its history files first, then in the order of names", async () => {
    const order: string[] = [];
    const names = Array.from({ length: 12 }, (_, at) => segment(20 - at));
    const histories = [3, 2].map((timeline) =>
      makeHistory(timeline, [{ timeline: 1, switchLsn: "0/500000" }]),
    );
    for (const file of [...names, ...histories]) scene.put(file);
    await scene.start({
      push: (name, body, options) => {
        order.push(name.text);
        return scene.push(name, body, options);
      },
    });
    await scene.drained();
    expect(order.slice(0, 2).sort()).toEqual(["00000002.history", "00000003.history"]);
    const sorted = names.map(({ name }) => name).sort();
    for (const [turn, name] of order.slice(2).entries()) {
      // Four are on their way at once, and may overtake each other.
      expect(Math.abs(sorted.indexOf(name) - turn), name).toBeLessThan(4);
    }
  });

  test("removes what the archive has already, whoever brought it", async () => {
    const file = segment(3);
    scene.put(file);
    await scene.start();
    await scene.drained();
    scene.put(file);
    await scene.drained();
    expect(scene.counted).toEqual(["archived", "already-archived"]);
  });

  test.each([
    ["the future", 4_000_000_000],
    ["1970", 1],
  ])("does not care that a file says it was written in %s", async (_title, seconds) => {
    utimesSync(scene.put(segment(3)), seconds, seconds);
    utimesSync(
      scene.put(makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }])),
      seconds,
      seconds,
    );
    await scene.start();
    await scene.until("its files are seen", () => scene.status.files === 2);
    expect(scene.status.oldestAgeSeconds).toBeLessThan(60);
    await scene.drained();
  });

  test("keeps everything while the archive takes nothing, and says for how long", async () => {
    let isDown = true;
    await scene.start({
      push: async (name, body, options) => {
        if (isDown) throw new WalarcError("store-failed", "the disk is on fire");
        return scene.push(name, body, options);
      },
    });
    for (const number of [3, 4, 5]) scene.put(segment(number));
    await scene.until("it waits", () => scene.status.waitingSince !== null);
    await delay(1200);
    expect(scene.names()).toHaveLength(3);
    expect(scene.status).toMatchObject({ files: 3, rejected: 0 });
    expect(scene.status.problem).toMatch(/3 files of cluster "main" have been waiting for \d+ s/);
    isDown = false;
    await scene.drained();
    expect(scene.status).toMatchObject({ waitingSince: null, problem: null });
  });

  test("takes up what a killed daemon was about to remove", async () => {
    const file = segment(3);
    await scene.start();
    await scene.until("it is set up", () => scene.status.problem === null);
    await scene.stop();
    writeFileSync(scene.path("rejected", `.removing.${file.name}.0123456789ab`), file.bytes);
    await scene.start();
    await scene.until("it is archived", () => scene.counted.includes("archived"));
    await scene.drained();
    expect(scene.rejected()).toEqual([]);
  });

  test("waits for a directory that is not there yet", async () => {
    renameSync(scene.directory, scene.elsewhere("unmounted"));
    await scene.start();
    await scene.until("it says so", () => /is not there/.test(scene.status.problem ?? ""));
    renameSync(scene.elsewhere("unmounted"), scene.directory);
    scene.put(segment(3));
    await scene.drained();
  });
});

describe("a writer that writes in place", () => {
  test("may be as slow as it likes: its file is taken when it is whole, and not before", async () => {
    await scene.start({ settleMs: 100 });
    const file = segment(3);
    const path = scene.path(file.name);
    writeFileSync(path, "");
    for (let at = 0; at < file.bytes.length; at += MIB / 4) {
      await delay(300);
      appendFileSync(path, file.bytes.subarray(at, at + MIB / 4));
    }
    await scene.drained();
    expect((await scene.archived(file.name))?.equals(file.bytes)).toBe(true);
    expect(scene.counted).toEqual(["archived"]);
  });

  test.each([
    ["from the beginning on", [0, 1, 2, 3]],
    ["from the end on", [3, 2, 1, 0]],
    ["beginning and end before the middle", [0, 3, 1, 2]],
  ])("may give its file the full size first, and write it %s", async (_title, order) => {
    await scene.start({ settleMs: 100 });
    const file = segment(3);
    const descriptor = openSync(scene.path(file.name), "w");
    ftruncateSync(descriptor, MIB);
    for (const part of order) {
      await delay(400);
      expect(scene.names()).toEqual([file.name]);
      const at = (part * MIB) / 4;
      writeSync(descriptor, file.bytes, at, MIB / 4, at);
    }
    closeSync(descriptor);
    await scene.drained();
    expect((await scene.archived(file.name))?.equals(file.bytes)).toBe(true);
    expect(scene.counted).toEqual(["archived"]);
  });

  test.each([
    ["nothing", 0],
    ["a few bytes", 30],
    ["a page and a half", 12_000],
    ["all but a byte", MIB - 1],
  ])(
    "and is killed after %s: that is told, and taken once it is completed",
    async (_title, size) => {
      await scene.start({ settleMs: 100 });
      const file = segment(3);
      writeFileSync(scene.path(file.name), file.bytes.subarray(0, size));
      await scene.until("it is told", () => scene.status.incomplete.length === 1);
      expect(scene.status.incomplete).toMatchObject([{ name: file.name }]);
      expect(
        scene.lines.filter(({ message }) => message === "incomplete file in spool"),
      ).toHaveLength(1);
      await delay(300);
      expect(scene.names()).toEqual([file.name]);
      scene.put(file);
      await scene.drained();
      expect((await scene.archived(file.name))?.equals(file.bytes)).toBe(true);
    },
  );

  test("and is killed and never comes back: its file makes room for the next try", async () => {
    await scene.start({ settleMs: 50, incompleteAfterMs: 500 });
    const [cut, preallocated] = [segment(3), segment(4)];
    writeFileSync(scene.path(cut.name), cut.bytes.subarray(0, MIB / 2));
    const half = Buffer.alloc(MIB);
    preallocated.bytes.copy(half, 0, 0, MIB / 2);
    writeFileSync(scene.path(preallocated.name), half);
    await scene.drained();
    expect(scene.rejected()).toEqual([cut.name, preallocated.name]);
    expect(scene.counted).toEqual(["incomplete", "incomplete"]);
    expect(scene.status).toMatchObject({
      rejected: 2,
      lastRejected: [{ reason: "incomplete" }, {}],
    });
    scene.put(cut);
    scene.put(preallocated);
    await scene.drained();
    expect((await scene.archived(cut.name))?.equals(cut.bytes)).toBe(true);
  });

  test("of a history file is waited for, since nothing tells its length", async () => {
    await scene.start({ settleMs: 800 });
    const { name, bytes } = makeHistory(3, [
      { timeline: 1, switchLsn: "0/500000" },
      { timeline: 2, switchLsn: "0/600000" },
    ]);
    const firstLine = bytes.indexOf("\n") + 1;
    writeFileSync(scene.path(name), bytes.subarray(0, firstLine));
    await delay(400);
    appendFileSync(scene.path(name), bytes.subarray(firstLine, firstLine + 5));
    await delay(1200);
    expect(scene.names()).toEqual([name]);
    appendFileSync(scene.path(name), bytes.subarray(firstLine + 5));
    await scene.drained();
    expect((await scene.archived(name))?.equals(bytes)).toBe(true);
  });

  test("has a segment taken long before the time that a history file must be left alone", async () => {
    await scene.start({ settleMs: 3_600_000 });
    const history = makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }]);
    scene.put(segment(3));
    scene.put(history);
    await scene.until("the segment is archived", () => scene.counted.length === 1);
    expect(scene.names()).toEqual([history.name]);
  });
});
