import { chown, mkdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadWire, type WireFault } from "../support/bad-wire.ts";
import type { Outcome } from "../support/child.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { inParallel } from "../support/ledger.ts";
import { LoopMount } from "../support/loop-mount.ts";
import { fetchWal, pushWal } from "../support/wal-http.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

const TIMEOUT_SECONDS = 2;
/** What a push may take beyond its deadline. */
const GRACE_MS = 5_000;
/** An answer's time on a machine that is not busy otherwise; on a busy one, as much longer. */
const answerMsMax = () => 1_000 * Math.max(1, (loadavg()[0] ?? 0) / availableParallelism());

const segment = (number: number) =>
  makeSegment({ number, segmentSizeBytes: MIB, content: "dense" });

/** Runs a command that must end in time. */
async function inTime(run: () => Promise<Outcome>, timeoutSeconds: number): Promise<Outcome> {
  const began = performance.now();
  const outcome = await run();
  expect(performance.now() - began).toBeLessThan(timeoutSeconds * 1000 + GRACE_MS);
  return outcome;
}

describe("a network that fails", () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  let wire: BadWire;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
    wire = scene.keep(await BadWire.start(daemon.socketPath));
    expect((await pushWal(segment(1), daemon)).status).toBe(201);
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const faults: readonly { title: string; fault: WireFault }[] = [
    { title: "swallows everything", fault: { kind: "black hole", afterBytes: 0 } },
    { title: "goes silent in the head", fault: { kind: "black hole", afterBytes: 60 } },
    { title: "goes silent in the body", fault: { kind: "black hole", afterBytes: 300_000 } },
    { title: "is cut in the head", fault: { kind: "reset", afterBytes: 60 } },
    { title: "is cut in the body", fault: { kind: "reset", afterBytes: 300_000 } },
    { title: "brings the answer byte by byte", fault: { kind: "drip", intervalMs: 1000 } },
  ];

  test.each(faults)(
    "a push ends in time when it $title, and the next one succeeds",
    async (row) => {
      const file = segment(10 + faults.indexOf(row));
      const push = () => {
        return scene.push(file, { server: wire.url, timeoutSeconds: TIMEOUT_SECONDS });
      };
      wire.fault = row.fault;
      const failed = await inTime(push, TIMEOUT_SECONDS);
      expect(failed).toMatchObject({ status: 3 });
      expect(failed.stderr).toMatch(/^walarc: push [0-9A-F]{24}: unreachable: /);

      wire.fault = undefined;
      expect(await push()).toMatchObject({ status: 0, stderr: "" });
      expect((await fetchWal(file.name, daemon)).body.equals(file.bytes)).toBe(true);
    },
  );

  test.each(faults)("a fetch ends in time when it $title, and delivers nothing", async (row) => {
    const data = await scene.workspace.makeDirectory(`data${faults.indexOf(row)}`);
    const fetch = (destination: string) => {
      const options = { server: wire.url, timeoutSeconds: TIMEOUT_SECONDS, cwd: data };
      return inTime(() => scene.walarc(["fetch", segment(1).name, destination], options), 2);
    };
    // A fetch sends a few hundred bytes only, so what strikes later does not strike it.
    wire.fault =
      "afterBytes" in row.fault
        ? { ...row.fault, afterBytes: Math.min(60, row.fault.afterBytes) }
        : row.fault;

    const [plain, recovery] = await Promise.all([fetch("somewhere"), fetch("RECOVERYXLOG")]);
    expect([plain.status, recovery.status]).toEqual([3, 200]);
    for (const name of ["somewhere", "RECOVERYXLOG"]) {
      expect(existsSync(join(data, name))).toBe(false);
    }
  });
});

describe("a daemon that hangs", () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
    expect((await pushWal(segment(1), daemon)).status).toBe(201);
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  test("keeps nobody waiting, and needs no help once it goes on", async () => {
    const options = { server: daemon.url, timeoutSeconds: TIMEOUT_SECONDS };
    daemon.freeze();
    const data = await scene.workspace.makeDirectory("data");
    const fetch = (destination: string) => {
      return scene.walarc(["fetch", segment(1).name, destination], { ...options, cwd: data });
    };
    const [push, plain, recovery] = await Promise.all([
      inTime(() => scene.push(segment(2), options), TIMEOUT_SECONDS),
      inTime(() => fetch("somewhere"), TIMEOUT_SECONDS),
      inTime(() => fetch("RECOVERYXLOG"), TIMEOUT_SECONDS),
    ]);
    expect([push.status, plain.status, recovery.status]).toEqual([3, 3, 200]);

    daemon.thaw();
    expect(await scene.push(segment(2), options)).toMatchObject({ status: 0, stderr: "" });
    expect((await fetch("somewhere")).status).toBe(0);
  });
});

for (const kind of ["ext4", "xfs"] as const) {
  const needs = ["root", kind, "fsfreeze"] as const;
  describeFaults(`a disk that hangs (${kind}) under one cluster of two`, { needs }, () => {
    const PUSHES = 12;
    /** More than libuv has threads. */
    const ABANDONED = 192;
    let scene: FaultScene;
    let mount: LoopMount;
    let daemon: WalarcDaemon;
    reportLogsOf(() => scene);
    beforeAll(async () => {
      scene = await FaultScene.open();
      mount = scene.keep(await LoopMount.create(kind));
      daemon = await scene.daemon();
      await daemon.stop();
      const hanging = join(daemon.storeDirectory, "clusters", "hanging");
      await mkdir(hanging);
      scene.keep(await mount.showAt(hanging));
      const { uid, gid } = scene.workspace.account;
      await chown(hanging, uid, gid);
      await daemon.start();
      for (const cluster of ["hanging", "sound"]) {
        expect((await pushWal(segment(1), { ...place(), cluster })).status).toBe(201);
      }
    });
    afterAll(async () => {
      // A thread that waits for a frozen disk cannot even be killed.
      await mount?.thaw().catch(() => undefined);
      await scene?.[Symbol.asyncDispose]();
    });
    const place = () => ({ socketPath: daemon.socketPath });

    test("pushes to it end in time, all else answers as before, and it recovers by itself", async () => {
      const timeoutSeconds = 3;
      const options = { server: daemon.url, cluster: "hanging", timeoutSeconds };
      const files = Array.from({ length: PUSHES }, (_, at) => segment(100 + at));
      await measureHealth();
      await mount.freeze();

      // A client leaves, but the call that hangs for it stays, and keeps a thread.
      const attempts = Array.from({ length: ABANDONED }, (_, at) => segment(500 + at));
      const abandoned = inParallel(attempts, 8, async (file) => {
        const push = pushWal(file, { ...place(), cluster: "hanging", timeoutMs: 150 });
        await push.then(
          () => expect.unreachable("a hanging disk has stored it"),
          () => undefined,
        );
      });
      await watchTheRest(2_000);
      await abandoned;
      await watchTheRest(0);

      const pushing = Promise.all(
        files.map((file) => inTime(() => scene.push(file, options), timeoutSeconds)),
      );
      await watchTheRest(4_000);
      for (const { status, stderr } of await pushing) {
        expect(status, stderr).toBeOneOf([3, 7]);
        expect(stderr).toMatch(/^walarc: push [0-9A-F]{24}: (?:unreachable|store-failed): /);
      }

      await eventually("/readyz tells that it hangs", async () => {
        const { status, body } = await daemon.get("/readyz");
        return status === 503 && String(body).includes("hanging");
      });
      const refused = await scene.push(files[0] as MadeFile, options);
      expect(refused).toMatchObject({ status: 7 });
      await watchTheRest(0);

      await mount.thaw();
      await eventually("a push to the cluster whose disk goes on succeeds", async () => {
        return (await scene.push(files[0] as MadeFile, options)).status === 0;
      });
      for (const file of files) {
        expect(await scene.push(file, options)).toMatchObject({ status: 0 });
        const fetched = await fetchWal(file.name, { ...place(), cluster: "hanging" });
        expect(fetched.body.equals(file.bytes)).toBe(true);
      }
      await eventually("/readyz is green again", async () => {
        return (await daemon.get("/readyz")).status === 200;
      });
    });

    let next = 1000;
    let usualMs = 0;

    /** How long the slowest answer takes while nothing hangs: this machine may do other things. */
    async function measureHealth(): Promise<void> {
      usualMs = 0;
      for (let round = 0; round < 10; round++)
        await watchTheRest(0, (tookMs) => {
          usualMs = Math.max(usualMs, tookMs);
        });
    }

    /** Everything but the hanging cluster, again and again, at least once. */
    async function watchTheRest(watchMs: number, judge = expectUsual): Promise<void> {
      const sound = { ...place(), cluster: "sound" };
      const began = performance.now();
      do {
        const file = segment((next += 1));
        judge(await timed("/healthz", async () => (await daemon.get("/healthz")).status === 200));
        judge(await timed("/metrics", async () => (await daemon.get("/metrics")).status === 200));
        judge(await timed("/readyz", async () => (await daemon.get("/readyz")).status > 0));
        judge(await timed("a push", async () => (await pushWal(file, sound)).status === 201));
        judge(
          await timed("a fetch", async () => (await fetchWal(file.name, sound)).status === 200),
        );
        await delay(watchMs === 0 ? 0 : 200);
      } while (performance.now() - began < watchMs);
    }

    function expectUsual(tookMs: number): void {
      expect(tookMs, "ms for an answer").toBeLessThan(Math.max(answerMsMax(), 3 * usualMs));
    }
  });
}

/** Asks for something that must succeed; how long it took. */
async function timed(what: string, ask: () => Promise<boolean>): Promise<number> {
  const began = performance.now();
  expect(await ask(), what).toBe(true);
  return performance.now() - began;
}
