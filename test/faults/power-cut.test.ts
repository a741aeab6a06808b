import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, KEEP_ALL, reportLogsOf, nothingStaged } from "../support/fault-scene.ts";
import { describeFaults, loopLength } from "../support/fault-tools.ts";
import { inParallel, Ledger } from "../support/ledger.ts";
import { LoopMount } from "../support/loop-mount.ts";
import {
  type MadeFile,
  makeBackupHistory,
  makeHistory,
  makeSegment,
  MIB,
} from "../support/wal-maker.ts";

const PUSHES = loopLength("WALARC_POWER_CUT_PUSHES", 60);
const PUSHES_PER_CUT = 10;
const PUSHERS = 4;

for (const kind of ["ext4", "xfs"] as const) {
  describeFaults(`a daemon whose store is on ${kind}`, { needs: ["root", kind] }, () => {
    let scene: FaultScene;
    let mount: LoopMount;
    let daemon: WalarcDaemon;
    const ledger = new Ledger();
    reportLogsOf(() => scene);
    beforeAll(async () => {
      scene = await FaultScene.open();
      mount = scene.keep(await LoopMount.create(kind));
      const storeDirectory = await scene.storeOn(mount.path);
      daemon = await scene.daemon({ storeDirectory, moreConfig: KEEP_ALL });
    });
    afterAll(() => scene?.[Symbol.asyncDispose]());

    const cuts = Math.ceil(PUSHES / PUSHES_PER_CUT);
    const timeout = 30_000 + cuts * 10_000;

    test("has everything that it acknowledged after each power cut", { timeout }, async () => {
      let roundMs = 300;
      let interrupted = 0;
      for (let cut = 0; cut < cuts; cut++) {
        const files = Array.from({ length: PUSHES_PER_CUT }, (_, at) => {
          return fileOfRound(cut * PUSHES_PER_CUT + at);
        });
        const before = ledger.acknowledged;
        const started = performance.now();
        // The first cut comes late and measures how long a round takes; the others fall anywhere in
        // one. A warm daemon is faster, so each round that ends before its cut measures again.
        const cutAfterMs = cut === 0 ? Infinity : Math.random() * roundMs;
        const pushing = inParallel(files, PUSHERS, async (file) => {
          await ledger.push(file, daemon);
        });
        let pushedMs: number | undefined;
        void pushing.then(() => (pushedMs ??= performance.now() - started));
        await Promise.race([pushing, cutAfterMs === Infinity ? pushing : delay(cutAfterMs)]);
        mount.pullPlug();
        roundMs = pushedMs ?? roundMs;
        await daemon.kill();
        await pushing;
        if (ledger.acknowledged < before + files.length) interrupted += 1;

        await mount.comeBack();
        await daemon.start();
        expect(await ledger.broken(daemon), `after ${cutAfterMs} ms`).toEqual([]);
        await nothingStaged(daemon.storeDirectory);

        await inParallel(files, PUSHERS, async (file) => {
          expect(await ledger.push(file, daemon)).toBeOneOf([200, 201]);
        });
      }
      expect(await ledger.broken(daemon)).toEqual([]);
      expect(ledger.acknowledged).toBe(cuts * PUSHES_PER_CUT);
      expect(interrupted).toBeGreaterThan(0);
    });

    test("acknowledges nothing once the power is gone", async () => {
      const files = [900, 901, 902].map(fileOfRound);
      const before = ledger.acknowledged;
      await ledger.push(files[0] as MadeFile, daemon);
      mount.pullPlug();

      const statuses = [];
      for (const file of files) statuses.push(await ledger.push(file, daemon));
      expect(statuses).toEqual([503, 503, 503]);

      await daemon.kill();
      await mount.comeBack();
      await daemon.start();
      expect(await ledger.broken(daemon)).toEqual([]);
      expect(ledger.acknowledged).toBe(before + 1);
    });
  });
}

/** Segments, some the first of their directory, and now and then the other kinds. */
function fileOfRound(index: number): MadeFile {
  const number = Math.floor(index / 4) * 4096 + (index % 4);
  const wish = { number, segmentSizeBytes: MIB, seed: `round ${index}` };
  if (index % 8 === 6) return makeBackupHistory(wish);
  if (index % 8 === 7) return makeHistory(index, [{ timeline: 1, switchLsn: "0/300000" }]);
  return makeSegment(wish);
}
