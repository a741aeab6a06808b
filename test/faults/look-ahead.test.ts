import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { describeCalls, orderFaults, PUSH_CALLS } from "../support/durable-order.ts";
import { FaultScene, KEEP_ALL, nothingStaged, reportLogsOf } from "../support/fault-scene.ts";
import { describeFaults, loopLength } from "../support/fault-tools.ts";
import { Host } from "../support/host.ts";
import { Strace } from "../support/strace.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

const KILLS = loopLength("WALARC_KILLS", 15);
/** Finished in each life of the daemon, which seldom comes to all of them. */
const FILES_PER_LIFE = 12;

const segment = (number: number): MadeFile =>
  makeSegment({ number, segmentSizeBytes: MIB, content: number % 2 === 0 ? "mixed" : "dense" });

describeFaults("what is archived ahead of its call", { needs: ["strace"] }, () => {
  let scene: FaultScene;
  let host: Host;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    host = await Host.make(scene);
    daemon = await scene.daemon({ workers: 4, moreConfig: host.config });
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  test("is synced and named before its call is answered, and written once", async () => {
    const files = [4095, 4096, 4097].map(segment);
    for (const file of files) await host.finish(file);
    await using strace = await Strace.attach(daemon.pid, { trace: PUSH_CALLS, threads: "all" });
    for (const { name } of files) expect((await host.call(name, daemon)).status).toBe(201);
    await strace.detach();

    let calls = strace.calls();
    for (const { name } of files) {
      const path = daemon.objectFile(name);
      expect(orderFaults(calls, path), describeCalls(calls)).toEqual([]);
      const named = calls.filter(
        (call) => call.name.startsWith("link") && call.args.includes(path),
      );
      expect(named).toHaveLength(1);
      // What follows is measured by the next answer.
      const answer = calls.find((call) => /"HTTP\/1\.1 201/.test(call.args));
      calls = calls.filter((call) => call !== answer);
    }
    expect(daemon.log()).toContain('"isAhead":true');
  });
});

describe("a daemon that looks ahead and is killed at any moment", () => {
  let scene: FaultScene;
  let host: Host;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    host = await Host.make(scene);
    daemon = await scene.daemon({ moreConfig: host.config + KEEP_ALL });
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const timeout = 60_000 + KILLS * 4_000;

  test("loses nothing that it has acknowledged, and leaves nothing staged", {
    timeout,
  }, async () => {
    const acknowledged = new Map<string, Buffer>();
    const waiting: MadeFile[] = [];
    let next = 4000;
    /** As the archiver: one after the other, and no further than the first that fails. */
    const archive = async (): Promise<void> => {
      for (let file = waiting[0]; file !== undefined; file = waiting[0]) {
        const answer = await host.call(file.name, daemon).catch(() => undefined);
        if (answer === undefined) return;
        expect(answer.status).toBeOneOf([200, 201]);
        acknowledged.set(file.name, file.bytes);
        waiting.shift();
      }
    };
    for (let kill = 0; kill < KILLS; kill += 1) {
      while (waiting.length < FILES_PER_LIFE) {
        const file = segment((next += 1));
        await host.finish(file);
        waiting.push(file);
      }
      const archiving = archive();
      await Promise.race([archiving, delay(Math.random() * 150)]);
      await daemon.kill();
      await archiving;
      await daemon.start();
      await nothingStaged(daemon.storeDirectory);
    }
    await archive();

    expect(waiting).toEqual([]);
    await expectArchived(acknowledged, daemon);
    expect(existsSync(`${daemon.storeDirectory}/clusters/main/conflicts`)).toBe(false);
  });

  test("is stopped in the middle of it and leaves nothing staged either", async () => {
    const files = Array.from({ length: 8 }, (_, index) => segment(9000 + index));
    for (const file of files) await host.finish(file);
    await host.call(files[0]!.name, daemon);
    expect(await daemon.stop()).toBe(0);
    await nothingStaged(daemon.storeDirectory);
    await daemon.start();
    for (const { name } of files.slice(1)) {
      expect((await host.call(name, daemon)).status).toBeOneOf([200, 201]);
    }
    await expectArchived(new Map(files.map(({ name, bytes }) => [name, bytes])), daemon);
  });
});
