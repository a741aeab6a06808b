import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, nothingStaged, reportLogsOf } from "../support/fault-scene.ts";
import { loopLength } from "../support/fault-tools.ts";
import { inParallel, Ledger } from "../support/ledger.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

const KILLS = loopLength("WALARC_KILLS", 60);
const PUSHERS = 4;
/** What the pushers may have under way per life of the daemon; it keeps the archive small. */
const PUSHES_PER_LIFE = 12;

describe("a daemon killed at any moment", () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const timeout = 60_000 + KILLS * 3_000;

  test("loses nothing, shows nothing partial, leaves nothing staged", { timeout }, async () => {
    const ledger = new Ledger();
    let next = 0;
    let backlog: MadeFile[] = [];
    let interrupted = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      while (backlog.length < PUSHES_PER_LIFE) backlog.push(segmentOfLife((next += 1)));
      const pushing = inParallel(backlog, PUSHERS, async (file) => {
        await ledger.push(file, daemon);
      });
      await Promise.race([pushing, delay(Math.random() * 150)]);
      await daemon.kill();
      await pushing;
      await daemon.start();

      backlog = backlog.filter((file) => !ledger.holds(file.name));
      if (backlog.length > 0) interrupted += 1;
      await nothingStaged(daemon.storeDirectory);
      if (kill % 10 === 9) expect(await ledger.broken(daemon)).toEqual([]);
    }
    for (const file of backlog) expect(await ledger.push(file, daemon)).toBeOneOf([200, 201]);

    expect(await ledger.broken(daemon)).toEqual([]);
    expect(ledger.acknowledged).toBe(next);
    expect(interrupted).toBeGreaterThan(KILLS / 4);
  });
});

function segmentOfLife(index: number): MadeFile {
  const content = index % 2 === 0 ? "mixed" : "dense";
  const number = Math.floor(index / 5) * 4096 + (index % 5);
  return makeSegment({ number, segmentSizeBytes: MIB, content });
}
