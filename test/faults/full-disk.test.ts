import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Account } from "../support/account.ts";
import { requireCommand } from "../support/child.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf, nothingStaged } from "../support/fault-scene.ts";
import { describeFaults, systemEnvironment } from "../support/fault-tools.ts";
import { archivedNames } from "../support/ledger.ts";
import { LoopMount, type LoopOptions } from "../support/loop-mount.ts";
import { fetchWal, pushWal } from "../support/wal-http.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

const segment = (number: number): MadeFile => {
  return makeSegment({ number, segmentSizeBytes: 16 * MIB, content: "dense" });
};

describeFaults("a store on a disk of 64 MB", { needs: ["root", "ext4"] }, () => {
  let scene: FaultScene;
  let mount: LoopMount;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeEach(async () => {
    scene = await FaultScene.open();
  });
  afterEach(() => scene?.[Symbol.asyncDispose]());

  async function openStore(options: LoopOptions = {}): Promise<void> {
    const mkfs = ["-m", "0", ...(options.mkfs ?? [])];
    mount = scene.keep(await LoopMount.create("ext4", { sizeBytes: 64 * MIB, mkfs }));
    daemon = await scene.daemon({ storeDirectory: await scene.storeOn(mount.path) });
    expect((await push(segment(1))).status).toBe(0);
  }

  const push = (file: MadeFile) => scene.push(file, { server: daemon.url });
  const ballast = () => join(mount.path, "ballast");

  /** Writes until nothing fits any more, and then takes `roomBytes` back. */
  function fillUp(roomBytes: number): void {
    const file = openSync(ballast(), "a");
    try {
      for (const piece of [Buffer.alloc(MIB), Buffer.alloc(4096)]) writeUntilFull(file, piece);
      ftruncateSync(file, fstatSync(file).size - roomBytes);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  async function expectRefused(file: MadeFile): Promise<void> {
    const refused = await push(file);
    expect(refused).toMatchObject({ status: 7 });
    expect(refused.stderr).toMatch(/^walarc: push [0-9A-F]{24}: store-failed: /);
    expect((await fetchWal(file.name, daemon)).status).toBe(404);
    expect(await archivedNames(daemon)).not.toContain(file.name);
    await nothingStaged(daemon.storeDirectory);
  }

  async function expectStillGood(file: MadeFile): Promise<void> {
    expect(await push(file)).toMatchObject({ status: 0, stderr: "" });
    expect((await fetchWal(file.name, daemon)).body.equals(file.bytes)).toBe(true);
  }

  const expectReadiness = (status: number) => {
    return eventually(`/readyz answers ${status}`, async () => {
      return (await daemon.get("/readyz")).status === status;
    });
  };

  test("refuses when it is full, keeps what it has, and goes on once there is room", async () => {
    await openStore();
    fillUp(6 * MIB);
    await expectRefused(segment(2));
    await expectStillGood(segment(1));

    fillUp(0);
    await expectRefused(segment(2));
    await expectStillGood(segment(1));
    await expectReadiness(503);
    expect((await daemon.get("/healthz")).status).toBe(200);
    expect((await pushWal(segment(2), daemon)).status).toBe(507);

    rmSync(ballast());
    expect(await push(segment(2))).toMatchObject({ status: 0, stderr: "" });
    await expectStillGood(segment(2));
    await expectReadiness(200);
  });

  test("refuses at whatever byte it fills up", async () => {
    await openStore();
    for (let roomBytes = 0; roomBytes <= 16 * MIB; roomBytes += 2 * MIB) {
      fillUp(roomBytes);
      await expectRefused(segment(3));
      rmSync(ballast());
    }
    await expectStillGood(segment(3));
  });

  test("refuses when it has no inodes left, though bytes are free", async () => {
    await openStore({ mkfs: ["-N", "64"] });
    const directory = join(mount.path, "many");
    mkdirSync(directory);
    for (let at = 0; statfsSync(mount.path).ffree > 0; at++) {
      writeFileSync(join(directory, String(at)), "");
    }
    await expectRefused(segment(2));
    await expectStillGood(segment(1));
    await expectReadiness(503);

    rmSync(directory, { recursive: true });
    await expectStillGood(segment(2));
    await expectReadiness(200);
  });

  test("serves what it has when its file system has given up writing", async () => {
    await openStore({ mkfs: ["-e", "remount-ro"] });
    await mount.remount("abort");

    await expectRefused(segment(2));
    expect((await fetchWal(segment(1).name, daemon)).body.equals(segment(1).bytes)).toBe(true);
    await expectReadiness(503);
    expect((await daemon.get("/healthz")).status).toBe(200);
  });

  test("starts on a read-only file system, serves it, and takes pushes once it is writable", async () => {
    await openStore();
    await daemon.stop();
    await mount.remount("ro");
    await daemon.start({ readiness: 503 });

    await expectRefused(segment(2));
    expect((await fetchWal(segment(1).name, daemon)).body.equals(segment(1).bytes)).toBe(true);

    await mount.remount("rw");
    await expectStillGood(segment(2));
    await expectReadiness(200);
  });

  test("refuses what passes the limit for the size of a file, and lives", async () => {
    await openStore();
    const limited = { pid: daemon.pid, account: scene.workspace.account };
    await limit(`--fsize=${4 * MIB}:`, limited);
    await expectRefused(segment(2));

    await limit("--fsize=unlimited:", limited);
    await expectStillGood(segment(2));
  });
});

describe("a daemon that may open no more files", () => {
  let scene: FaultScene;
  reportLogsOf(() => scene);
  beforeEach(async () => {
    scene = await FaultScene.open();
  });
  afterEach(() => scene?.[Symbol.asyncDispose]());

  test("refuses in words, lives, and goes on as soon as it may", async () => {
    const daemon = await scene.daemon();
    const [first, second] = [1, 2].map((number) => makeSegment({ number, segmentSizeBytes: MIB }));
    const push = (file?: MadeFile) => scene.push(file as MadeFile, { server: daemon.url });
    expect((await push(first)).status).toBe(0);

    const limited = { pid: daemon.pid, account: scene.workspace.account };
    // Enough for the connection of one client, and not for its file beside that.
    await limit(`--nofile=${(await firstFreeDescriptor(daemon.pid)) + 1}:`, limited);
    const refused = await push(second);
    expect(refused.status, refused.stderr).toBeOneOf([3, 7]);
    expect(refused.stderr).toMatch(/^walarc: push [0-9A-F]{24}: (?:unreachable|store-failed): /);

    await limit("--nofile=1024:", limited);
    expect(await push(second)).toMatchObject({ status: 0, stderr: "" });
    expect(daemon.pid).toBe(limited.pid);
  });
});

describe("a store that is removed under the daemon", () => {
  let scene: FaultScene;
  reportLogsOf(() => scene);
  beforeEach(async () => {
    scene = await FaultScene.open();
  });
  afterEach(() => scene?.[Symbol.asyncDispose]());

  test("is not made again in silence: pushes fail, readiness is red, and nothing is absent", async () => {
    const daemon = await scene.daemon();
    const [first, second] = [1, 2].map((number) => makeSegment({ number, segmentSizeBytes: MIB }));
    if (first === undefined || second === undefined) throw new Error("unreachable");
    expect((await pushWal(first, daemon)).status).toBe(201);
    rmSync(daemon.storeDirectory, { recursive: true });

    for (const file of [first, second]) {
      const { status, stderr } = await scene.push(file, { server: daemon.url });
      expect(status, stderr).toBe(7);
    }
    expect((await fetchWal(first.name, daemon)).status).toBeGreaterThanOrEqual(500);
    expect((await fetchWal(second.name, daemon)).status).not.toBe(404);
    await eventually("/readyz is red", async () => (await daemon.get("/readyz")).status === 503);
    expect(() => statfsSync(daemon.storeDirectory)).toThrow(/ENOENT/);
  });
});

function writeUntilFull(file: number, piece: Buffer): void {
  try {
    while (writeSync(file, piece) > 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

/** Sets a soft limit of a running process, as prlimit(1) takes it. */
async function limit(resource: string, options: { pid: number; account: Account }): Promise<void> {
  const args = ["--pid", String(options.pid), resource];
  await requireCommand("prlimit", args, { ...options, cwd: "/", env: systemEnvironment() });
}

/** Of a process that has come to rest: its descriptors stay the same for a while. */
async function firstFreeDescriptor(pid: number): Promise<number> {
  let before = "";
  return eventually(
    "the daemon has closed what it had opened",
    () => {
      const open = readdirSync(`/proc/${pid}/fd`)
        .map(Number)
        .sort((a, b) => a - b);
      if (before !== String(open)) {
        before = String(open);
        return undefined;
      }
      const gap = open.findIndex((descriptor, at) => descriptor !== at);
      return gap === -1 ? open.length : gap;
    },
    { intervalMs: 300 },
  );
}
