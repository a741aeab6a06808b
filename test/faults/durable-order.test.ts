import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import {
  describeCalls,
  orderFaults,
  PUSH_CALLS,
  readPushTrace,
  syncsOf,
} from "../support/durable-order.ts";
import { FaultScene, filesBelow, reportLogsOf } from "../support/fault-scene.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { parseStrace, Strace, type TracedCall } from "../support/strace.ts";
import { pushWal } from "../support/wal-http.ts";
import {
  type MadeFile,
  makeBackupHistory,
  makeHistory,
  makeSegment,
  MIB,
} from "../support/wal-maker.ts";

/*
 * The order of system calls tells more than a power cut does: a file system may forgive a missing
 * sync today, by committing its journal just then, and not tomorrow.
 */

/** The first segment of a new directory every time: 4096 of them make a log. */
const segmentOfLog = (log: number, seed = "order") => {
  return makeSegment({ number: log * 4096, segmentSizeBytes: MIB, seed });
};

describeFaults("the daemon's system calls during a push", { needs: ["strace"] }, () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon({ workers: 4 });
    await pushWal(segmentOfLog(1), daemon);
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  async function tracePush(file: MadeFile, cluster = "main"): Promise<TracedCall[]> {
    await using strace = await Strace.attach(daemon.pid, { trace: PUSH_CALLS, threads: "all" });
    const { status } = await pushWal(file, { socketPath: daemon.socketPath, cluster });
    await strace.detach();
    expect(status).toBeOneOf([200, 201]);
    return strace.calls();
  }

  function expectOrder(calls: readonly TracedCall[], name: string, cluster = "main"): void {
    const path = daemon.objectFile(name, cluster);
    expect(orderFaults(calls, path), describeCalls(calls)).toEqual([]);
  }

  test("syncs a segment, names it, syncs the name, then answers", async () => {
    const file = makeSegment({ number: 4097, segmentSizeBytes: MIB });
    const calls = await tracePush(file);

    expectOrder(calls, file.name);
    const { publish, madeDirectories } = readPushTrace(calls, daemon.objectFile(file.name));
    expect(publish?.name).toMatch(/^link/);
    expect(madeDirectories).toEqual([]);
  });

  test("syncs the parents of directories made for it as well", async () => {
    const file = segmentOfLog(2);
    const calls = await tracePush(file);

    expectOrder(calls, file.name);
    expect(readPushTrace(calls, daemon.objectFile(file.name)).madeDirectories).toHaveLength(1);
  });

  test("keeps the order for the first file of a timeline, and of a cluster", async () => {
    const first = makeSegment({ number: 5, segmentSizeBytes: MIB, timeline: 2 });
    const calls = await tracePush(first);
    expectOrder(calls, first.name);
    expect(readPushTrace(calls, daemon.objectFile(first.name)).madeDirectories).toHaveLength(2);

    const elsewhere = await tracePush(first, "another");
    expectOrder(elsewhere, first.name, "another");
    const made = readPushTrace(elsewhere, daemon.objectFile(first.name, "another"));
    expect(made.madeDirectories.length).toBeGreaterThanOrEqual(4);
  });

  test("keeps the order for history and backup history files", async () => {
    const history = makeHistory(3, [{ timeline: 2, switchLsn: "0/600000" }]);
    const backup = makeBackupHistory({ number: 1, segmentSizeBytes: MIB });

    expectOrder(await tracePush(history), history.name);
    expectOrder(await tracePush(backup), backup.name);
  });

  test("binds a new cluster durably before it answers its first push", async () => {
    const calls = await tracePush(segmentOfLog(1), "bound");

    const binding = `${daemon.storeDirectory}/clusters/bound/cluster.json`;
    expect(orderFaults(calls, binding), describeCalls(calls)).toEqual([]);
  });

  test("syncs what is there before it answers an identical retry, and does not write it again", async () => {
    const file = segmentOfLog(1);
    const before = await filesBelow(daemon.storeDirectory);
    const calls = await tracePush(file);

    expectOrder(calls, file.name);
    expect(readPushTrace(calls, daemon.objectFile(file.name)).publish).toBeUndefined();
    expect(await filesBelow(daemon.storeDirectory)).toEqual(before);
  });

  test("syncs every directory above after a restart, because its predecessor may have died first", async () => {
    await daemon.kill();
    await daemon.start();
    const file = segmentOfLog(2);
    const calls = await tracePush(file);

    expectOrder(calls, file.name);
    const above = [
      "",
      "/clusters",
      "/clusters/main",
      "/clusters/main/wal",
      "/clusters/main/wal/00000001",
    ];
    for (const directory of above) {
      const path = `${daemon.storeDirectory}${directory}`;
      expect(syncsOf(calls, path), `${path}\n${describeCalls(calls)}`).not.toEqual([]);
    }
  });
});

describe("the judge of that order", () => {
  const good = [
    'openat(AT_FDCWD</>, "/s/tmp/1", O_WRONLY|O_CREAT|O_EXCL, 0600) = 23</s/tmp/1>',
    'write(23</s/tmp/1>, "abc"..., 4096) = 4096',
    "fsync(23</s/tmp/1>) = 0",
    'mkdir("/s/wal/1", 0700) = 0',
    'link("/s/tmp/1", "/s/wal/1/a") = 0',
    "fsync(24</s/wal/1>) = 0",
    "fsync(25</s/wal>) = 0",
    'writev(30<socket:[7]>, [{iov_base="HTTP/1.1 201 Created\\r\\n", iov_len=22}], 1) = 22',
  ];
  const without = (index: number) => good.filter((_, at) => at !== index);
  const moved = (from: number, to: number) => without(from).toSpliced(to, 0, good[from] ?? "");

  test("accepts the right one", () => expect(judge(good)).toEqual([]));

  test.each([
    ["no sync of the file", without(2)],
    ["a write after the sync", moved(2, 1)],
    ["the name before the sync of the file", moved(2, 4)],
    ["no sync of the directory", without(5)],
    ["the directory's sync before the name", moved(5, 3)],
    ["no sync of a new directory's parent", without(6)],
    ["an answer before the last sync", moved(7, 6)],
    ["a failed sync", good.with(5, "fsync(24</s/wal/1>) = -1 EIO (Input/output error)")],
    ["a sync that has not ended", good.with(6, "fsync(25</s/wal> <unfinished ...>")],
    ["an identical retry without any", [good[7] ?? ""]],
  ])("sees %s", (_, lines) => expect(judge(lines)).not.toEqual([]));
});

function judge(lines: readonly string[]): string[] {
  return orderFaults(parseStrace(lines.join("\n")), "/s/wal/1/a");
}
