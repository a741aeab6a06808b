import { dirname } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import {
  describeCalls,
  fileOf,
  orderFaults,
  PUSH_CALLS,
  readPublishing,
  readPushTrace,
} from "../support/durable-order.ts";
import { FaultScene, reportLogsOf, nothingStaged } from "../support/fault-scene.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { archivedNames } from "../support/ledger.ts";
import { Strace, type TracedCall } from "../support/strace.ts";
import { fetchWal } from "../support/wal-http.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

/*
 * Each call that a push makes on the store fails once, the first, the second and so on, until there
 * is none left to fail. Only libuv's threads are tampered with: they make the calls on files.
 */

/** libuv wakes its loop by a write of its own to an eventfd, which may come in between. */
const ATTEMPTS_MAX = 12;

describeFaults("a push whose n-th system call fails", { needs: ["strace"] }, () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  let pushed = 0;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon({ workers: 1 });
    await scene.push(nextFile(), { server: daemon.url });
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  /** The first of its directory, so that making and syncing directories can fail too. */
  function nextFile(): MadeFile {
    return makeSegment({ number: (pushed += 1) * 4096, segmentSizeBytes: MIB });
  }

  /** Pushes the next file with a fault in the way. */
  async function pushWithFault(fault: string, clusterOf: () => string = () => "main") {
    for (let attempt = 1; ; attempt++) {
      const file = nextFile();
      const cluster = clusterOf();
      const target = { trace: PUSH_CALLS, inject: [fault], threads: "workers" } as const;
      await using strace = await Strace.attach(daemon.pid, target);
      const outcome = await scene.push(file, { server: daemon.url, cluster });
      await strace.detach();
      const calls = strace.calls();
      const injected = strace.injected().filter((call) => !call.args.includes("[eventfd]"));
      // Something that the daemon does by itself may have come first, and taken the fault.
      if (outcome.status === 0 && injected.length > 0 && attempt < 3) {
        const object = daemon.objectFile(file.name, cluster);
        if (!injected.some((call) => isStepTo(object, call, calls))) continue;
      }
      return { ...outcome, file, cluster, calls, injected };
    }
  }

  async function expectNothingLeft(file: MadeFile): Promise<void> {
    expect((await fetchWal(file.name, daemon)).status).toBe(404);
    expect(await archivedNames(daemon)).not.toContain(file.name);
    await nothingStaged(daemon.storeDirectory);
  }

  /** PostgreSQL's next try: it succeeds, and trusts nothing that the failed one has written. */
  async function expectFreshPush(file: MadeFile): Promise<void> {
    await using strace = await Strace.attach(daemon.pid, { trace: PUSH_CALLS, threads: "all" });
    const retry = await scene.push(file, { server: daemon.url });
    await strace.detach();
    expect(retry).toMatchObject({ status: 0, stderr: "" });
    const calls = strace.calls();
    const path = daemon.objectFile(file.name);
    expect(orderFaults(calls, path), describeCalls(calls)).toEqual([]);
    expect(readPushTrace(calls, path).publish, "a new file under a new name").toBeDefined();
    expect((await fetchWal(file.name, daemon)).body.equals(file.bytes)).toBe(true);
  }

  const faults = ["openat", "fsync", "link", "mkdir"].flatMap((call) => {
    return ["EIO", "ENOSPC"].map((error) => ({ call, error }));
  });

  test.each(faults)(
    "fails with $error at any $call, and leaves nothing",
    async ({ call, error }) => {
      let failures = 0;
      for (let nth = 1; ; nth++) {
        const push = await pushWithFault(`${call}:error=${error}:when=${nth}`);
        if (push.injected.length === 0) {
          expect(push.status).toBe(0);
          break;
        }
        expect(push, describeCalls(push.calls)).toMatchObject({ status: 7 });
        expect(push.stderr).toMatch(/^walarc: push [0-9A-F]{24}: store-failed: /);
        failures += 1;
        await expectNothingLeft(push.file);
        await expectFreshPush(push.file);
      }
      expect(failures).toBeGreaterThanOrEqual(
        { openat: 2, fsync: 3, link: 1, mkdir: 1 }[call] ?? 0,
      );
    },
  );

  test.each(["openat", "fsync", "rename", "link", "mkdir"])(
    "fails at any %s while it makes its cluster, and the next one makes it",
    async (call) => {
      let failures = 0;
      for (let nth = 1; ; nth++) {
        const push = await pushWithFault(`${call}:error=EIO:when=${nth}`, () => `new${pushed}`);
        const { file, cluster } = push;
        const options = { server: daemon.url, cluster };
        const place = { socketPath: daemon.socketPath, cluster };
        if (push.status === 0) {
          // Nothing has failed, or only the counting of what there is.
          expect((await fetchWal(file.name, place)).body.equals(file.bytes)).toBe(true);
          if (push.injected.length === 0) break;
          continue;
        }
        expect(push, describeCalls(push.calls)).toMatchObject({ status: 7 });
        failures += 1;
        expect((await fetchWal(file.name, place)).status).toBe(404);
        await nothingStaged(daemon.storeDirectory);

        expect(await scene.push(file, options)).toMatchObject({ status: 0, stderr: "" });
        expect((await fetchWal(file.name, place)).body.equals(file.bytes)).toBe(true);
      }
      expect(failures).toBeGreaterThanOrEqual({ openat: 4, fsync: 5, mkdir: 4 }[call] ?? 1);
    },
  );

  /** A push whose `index`-th write to the staged file is the one that the fault hits. */
  async function pushWithBadWrite(index: number, faultOf: (sizeBytes: number) => string) {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const plain = await pushWithFault("write:delay_exit=0:when=65535");
      expect(plain.status).toBe(0);
      const write = fileWrites(plain.calls)[index];
      if (write === undefined) return undefined;
      const fault = `write:${faultOf(write.sizeBytes)}:when=${write.nth}`;
      const push = await pushWithFault(fault).catch(() => undefined);
      if (push !== undefined && push.injected.length > 0) return push;
      // The fault has hit libuv's own write, which ends the process; the dice are thrown again.
      await daemon.kill();
      await daemon.start();
    }
    throw new Error(`write ${index} was not hit in ${ATTEMPTS_MAX} attempts`);
  }

  const badWrites = [
    { title: "EIO", faultOf: () => "error=EIO" },
    { title: "ENOSPC", faultOf: () => "error=ENOSPC" },
    // The device claims bytes that it never wrote.
    { title: "a lie", faultOf: (sizeBytes: number) => `retval=${Math.min(sizeBytes, 4096)}` },
  ];

  test.each(badWrites)(
    "fails with $title at any write, and leaves nothing",
    async ({ faultOf }) => {
      let failures = 0;
      for (let index = 0; ; index++) {
        const push = await pushWithBadWrite(index, faultOf);
        if (push === undefined) break;
        expect(push, describeCalls(push.calls)).toMatchObject({ status: 7 });
        failures += 1;
        await expectNothingLeft(push.file);
        await expectFreshPush(push.file);
      }
      expect(failures).toBeGreaterThanOrEqual(2);
    },
  );
});

/** Which of a worker's writes go to the staged file, and how much each was to write. */
function fileWrites(calls: readonly TracedCall[]): { nth: number; sizeBytes: number }[] {
  const writes = calls.filter((call) => call.name === "write");
  return writes.flatMap((call, at) => {
    if (fileOf(call)?.includes("/tmp/") !== true) return [];
    return [{ nth: at + 1, sizeBytes: Number(/(\d+)$/.exec(call.args)?.[1]) }];
  });
}

/** Whether the call is one of those that bring an object under its name and make that durable. */
function isStepTo(object: string, call: TracedCall, calls: readonly TracedCall[]): boolean {
  const { stagedPath } = readPublishing(calls, object);
  const paths = [stagedPath, object, dirname(object), dirname(dirname(object))];
  return paths.some((path) => path !== undefined && isAbout(call, path));
}

function isAbout(call: TracedCall, path: string): boolean {
  return call.args.includes(`"${path}"`) || fileOf(call) === path;
}
