import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Clock, PushRate, type PushRateLimit } from "../../src/archive/push-rate.ts";
import { PgWal } from "../../src/disk/pg-wal.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { ArchiveScene, segment } from "../support/archive-scene.ts";
import { MIB, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

const SEGMENT_BYTES = 16 * MIB;
const { signal } = new AbortController();

/** Time that passes only where somebody sleeps, or a test says so. */
class ManualClock implements Clock {
  ms = 1_000_000;

  now(): number {
    return this.ms;
  }

  async sleep(ms: number, options: { signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    this.ms += ms;
  }
}

class RateScene {
  readonly clock = new ManualClock();
  readonly changes: boolean[] = [];
  backlog = 0;
  readonly rate: PushRate;

  constructor(limit: Partial<PushRateLimit> = {}) {
    const most = { bytesPerSecond: 8 * MIB, catchUpAfterMs: 60_000, catchUpFiles: 10 };
    this.rate = new PushRate(
      { ...most, ...limit },
      {
        backlog: () => this.backlog,
        lifted: (isLifted) => this.changes.push(isLifted),
        clock: this.clock,
      },
    );
  }

  /** Pushes so many segments one after the other; how many seconds that took. */
  async push(segments: number, bytes = SEGMENT_BYTES): Promise<number> {
    const begunMs = this.clock.ms;
    for (let segment = 0; segment < segments; segment += 1) {
      let passed = 0;
      for await (const chunk of this.rate.paced(chunksOf(bytes), { signal })) {
        passed += chunk.length;
      }
      expect(passed).toBe(bytes);
    }
    return (this.clock.ms - begunMs) / 1000;
  }
}

async function* chunksOf(bytes: number): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(64 * 1024);
  for (let at = 0; at < bytes; at += chunk.length) yield chunk;
}

test("segments pass at the rate, after a second's worth at once", async () => {
  const scene = new RateScene();
  expect(await scene.push(10)).toBeCloseTo(20 - 1, 0);
});

test("what comes more slowly than the rate never waits", async () => {
  const scene = new RateScene({ bytesPerSecond: 64 * MIB });
  for (let segment = 0; segment < 10; segment += 1) {
    expect(await scene.push(1)).toBe(0);
    scene.clock.ms += 250;
  }
});

test("pushes at once share the rate", async () => {
  const scene = new RateScene();
  const begunMs = scene.clock.ms;
  await Promise.all([scene.push(2), scene.push(2), scene.push(2)]);
  expect((scene.clock.ms - begunMs) / 1000).toBeCloseTo(11, 0);
});

test("no push waits longer than 20 s, so none fails for the rate alone", async () => {
  const scene = new RateScene({ bytesPerSecond: MIB });
  expect(await scene.push(1, 1024 * MIB)).toBeCloseTo(20, 0);
  expect(await scene.push(1)).toBeLessThanOrEqual(20);
});

test("what a push waits for its place counts as well", async () => {
  const scene = new RateScene({ bytesPerSecond: MIB });
  const late = scene.rate.paced(chunksOf(SEGMENT_BYTES), { signal });
  await scene.push(1, 1024 * MIB);
  const begunMs = scene.clock.ms;
  await Array.fromAsync(late);
  expect(scene.clock.ms - begunMs).toBe(0);
});

test("an archive takes its time, whether files are sent or read", async () => {
  await using archive = await ArchiveScene.open();
  await mkdir(join(archive.root, "data/pg_wal"), { recursive: true });
  const localWal = new PgWal(join(archive.root, "data"));
  const pushRate = { bytesPerSecond: 8 * MIB, catchUpAfterMs: 60_000, catchUpFiles: 10 };
  await archive.restart([["main", { systemIdentifier: SYSTEM_IDENTIFIER, localWal, pushRate }]]);
  const begunMs = performance.now();
  for (let number = 1; number <= 10; number += 1) await archive.push(segment(number));
  const file = segment(11);
  const path = join(archive.root, "data/pg_wal", file.name);
  await writeFile(path, file.bytes);
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  const identity = `${dev}:${ino}:${size}:${mtimeNs}`;
  await archive.archive.pushLocal("main", requireWalName(file.name), { identity, signal });
  // Of 11 MB, 8 may pass at once.
  expect(performance.now() - begunMs).toBeGreaterThan(350);
});

test("a push that waits ends with its signal", async () => {
  const scene = new RateScene({ bytesPerSecond: MIB });
  const gone = AbortSignal.abort(new Error("gone"));
  const paced = scene.rate.paced(chunksOf(SEGMENT_BYTES), { signal: gone });
  await expect(Array.fromAsync(paced)).rejects.toThrow("gone");
});

test("the rate is lifted once pushes had to wait for catch_up_after, until a pause", async () => {
  const scene = new RateScene();
  expect(await scene.push(30)).toBeCloseTo(59, 0);
  expect(scene.changes).toEqual([]);
  await scene.push(2);
  expect(scene.changes).toEqual([true]);
  expect(await scene.push(100)).toBe(0);
  scene.clock.ms += 3000;
  expect(await scene.push(2)).toBeGreaterThan(2.5);
  expect(scene.changes).toEqual([true, false]);
});

test("pauses keep the rate in force, however long it goes on", async () => {
  const scene = new RateScene();
  for (let round = 0; round < 20; round += 1) {
    await scene.push(5);
    scene.clock.ms += 2000;
  }
  expect(scene.changes).toEqual([]);
});

test("the rate is lifted at once for a backlog in archive_status, until that is gone", async () => {
  const scene = new RateScene();
  scene.backlog = 11;
  expect(await scene.push(50)).toBe(0);
  scene.clock.ms += 3000;
  expect(await scene.push(50)).toBe(0);
  scene.backlog = 0;
  scene.clock.ms += 3000;
  expect(await scene.push(2)).toBeGreaterThan(2.5);
  expect(scene.changes).toEqual([true, false]);
});
