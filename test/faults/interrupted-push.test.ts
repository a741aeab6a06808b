import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { describeCalls, orderFaults, PUSH_CALLS } from "../support/durable-order.ts";
import { FaultScene, filesBelow, reportLogsOf } from "../support/fault-scene.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { Ledger } from "../support/ledger.ts";
import { LoopMount } from "../support/loop-mount.ts";
import { Strace } from "../support/strace.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

/*
 * A push dies with its daemon, PostgreSQL tries again, and the retry finds what the first try has
 * left: it may acknowledge only what it has made durable itself. Then the power fails.
 */

for (const kind of ["ext4", "xfs"] as const) {
  const needs = ["root", kind, "strace"] as const;
  describeFaults(`a daemon killed at a step of a push, on ${kind}`, { needs }, () => {
    let scene: FaultScene;
    let mount: LoopMount;
    let daemon: WalarcDaemon;
    let pushed = 0;
    const ledger = new Ledger();
    reportLogsOf(() => scene);
    beforeAll(async () => {
      scene = await FaultScene.open();
      mount = scene.keep(await LoopMount.create(kind));
      const storeDirectory = await scene.storeOn(mount.path);
      daemon = await scene.daemon({ storeDirectory, workers: 1 });
    });
    afterAll(() => scene?.[Symbol.asyncDispose]());

    test.each(["openat", "fsync", "link", "unlink", "mkdir"])(
      "at any %s: the retry is durable when it is acknowledged",
      async (call) => {
        let deaths = 0;
        for (let nth = 1; ; nth++) {
          // The first segment of a directory, so that directories are made on the way.
          const file = makeSegment({ number: (pushed += 1) * 4096, segmentSizeBytes: MIB });
          const outcome = await killAtCall(daemon, { call, nth, file, ledger });
          if (outcome === "survived") break;
          deaths += 1;

          const inode = await inodeOf(daemon, file.name);
          await retryInOrder(daemon, file, ledger);
          if (inode !== undefined) expect(await inodeOf(daemon, file.name)).toBe(inode);
          mount.pullPlug();
          await daemon.kill();
          await mount.comeBack();
          await daemon.start();
          expect(await ledger.broken(daemon), `${call} ${nth}`).toEqual([]);
        }
        expect(deaths).toBeGreaterThanOrEqual(call === "fsync" ? 3 : 1);
      },
    );
  });
}

/** Pushes with SIGKILL lying in wait at the n-th call; the daemon is up again afterwards. */
async function killAtCall(
  daemon: WalarcDaemon,
  options: { call: string; nth: number; file: MadeFile; ledger: Ledger },
): Promise<"died" | "survived"> {
  const { call, nth, file, ledger } = options;
  const inject = [`${call}:signal=KILL:when=${nth}`];
  await using strace = await Strace.attach(daemon.pid, { trace: [], inject, threads: "workers" });
  const status = await ledger.push(file, daemon);
  if (status === "broken") {
    await daemon.start();
    return "died";
  }
  expect(status).toBe(201);
  await strace.detach();
  return "survived";
}

async function retryInOrder(daemon: WalarcDaemon, file: MadeFile, ledger: Ledger): Promise<void> {
  await using strace = await Strace.attach(daemon.pid, { trace: PUSH_CALLS, threads: "all" });
  expect(await ledger.push(file, daemon)).toBeOneOf([200, 201]);
  await strace.detach();
  const calls = strace.calls();
  expect(orderFaults(calls, daemon.objectFile(file.name)), describeCalls(calls)).toEqual([]);
}

async function inodeOf(daemon: WalarcDaemon, name: string): Promise<number | undefined> {
  const path = daemon.objectFile(name).slice(daemon.storeDirectory.length + 1);
  return (await filesBelow(daemon.storeDirectory)).get(path)?.inode;
}
