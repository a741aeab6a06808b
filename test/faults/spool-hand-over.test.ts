import { execFile } from "node:child_process";
import { chownSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { describeFaults, loopLength, systemEnvironment } from "../support/fault-tools.ts";
import { Ledger } from "../support/ledger.ts";
import { LoopMount } from "../support/loop-mount.ts";
import { syncPath } from "../support/power-cut.ts";
import { type MadeFile, makeSegment, MIB } from "../support/wal-maker.ts";

const CUTS = loopLength("WALARC_SPOOL_POWER_CUTS", 6);
/** Every call of the hand-over that changes something, and how often it may come. */
const STEPS = ["openat", "fchmod", "write", "fsync", "link,linkat", "unlink,unlinkat", "close"];

function segmentOf(number: number): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB });
}

describeFaults("walarc push --spool", { needs: ["root", "strace"] }, () => {
  let scene: FaultScene;
  beforeAll(async () => {
    scene = await FaultScene.open();
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  /** Runs the command with a fault injected into the nth call of a kind. */
  async function handOver(spool: string, source: string, fault: string): Promise<number> {
    const { walarc, env } = scene.installation;
    const calls = fault.split(":", 1)[0] ?? "";
    const args = ["-f", "-o", "/dev/null", "-e", `trace=${calls}`, "-e", `inject=${fault}`];
    return new Promise((resolve) => {
      const command = [...args, walarc, "push", "--spool", spool, source];
      execFile("strace", command, { env: { ...systemEnvironment(), ...env } }, (error) => {
        resolve(error === null ? 0 : Number(error.code ?? -1));
      });
    });
  }

  test("killed at any call, shows the whole file or nothing, and the next one succeeds", async () => {
    const file = segmentOf(3);
    const source = await scene.source(file);
    for (const step of STEPS) {
      for (const nth of [1, 2, 4, 8]) {
        const spool = await scene.workspace.makeDirectory(`kill-${step.replace(",", "-")}-${nth}`);
        await handOver(spool, source, `${step}:signal=KILL:when=${nth}`);
        const shown = readdirSync(spool).filter((name) => name === file.name);
        for (const name of shown) {
          expect(readFileSync(join(spool, name)).equals(file.bytes), `${step} ${nth}`).toBe(true);
        }
        expect(await handOver(spool, source, "sync:error=EIO")).toBe(0);
        expect(readFileSync(join(spool, file.name)).equals(file.bytes)).toBe(true);
      }
    }
  }, 240_000);

  test("never ends with success when a call of it fails that it depends on", async () => {
    const file = segmentOf(3);
    const source = await scene.source(file);
    for (const step of [
      "fsync:error=EIO:when=1",
      "fsync:error=EIO:when=2",
      "linkat,link:error=EIO",
    ]) {
      const spool = await scene.workspace.makeDirectory(`fail-${step.replaceAll(/[:,=]/g, "-")}`);
      expect(await handOver(spool, source, step), step).toBe(8);
      expect(await handOver(spool, source, "sync:error=EIO")).toBe(0);
      expect(readdirSync(spool)).toEqual([file.name]);
    }
  });
});

for (const kind of ["ext4", "xfs"] as const) {
  describeFaults(`a spool on ${kind}`, { needs: ["root", kind] }, () => {
    let scene: FaultScene;
    reportLogsOf(() => scene);
    beforeAll(async () => {
      scene = await FaultScene.open();
    });
    afterAll(() => scene?.[Symbol.asyncDispose]());

    function directoryOn(mount: LoopMount, name: string): string {
      const { uid, gid } = scene.workspace.account;
      const directory = join(mount.path, name);
      mkdirSync(directory, { mode: 0o700 });
      chownSync(directory, uid, gid);
      return directory;
    }

    test("has what was handed over, whole, after the power failed at that instant", async () => {
      await using mount = await LoopMount.create(kind);
      const place = directoryOn(mount, "spool");
      syncPath(mount.path); // The directory itself is older than the hand-over.
      for (let number = 1; number <= CUTS; number += 1) {
        const file = segmentOf(number);
        const source = await scene.source(file);
        const outcome = await scene.walarc(["push", "--spool", place, source], { server: "" });
        expect(outcome).toMatchObject({ status: 0 });
        await mount.cutPower();
        expect(readFileSync(join(place, file.name)).equals(file.bytes)).toBe(true);
      }
    }, 120_000);

    test("and its store beside it lose nothing when the power fails while it is drained", async () => {
      await using mount = await LoopMount.create(kind);
      const [store, spool] = [directoryOn(mount, "store"), directoryOn(mount, "spool")];
      syncPath(mount.path);
      const moreConfig = `[[spool]]\npath = "${spool}"\ncluster = "main"\nsettle = "50ms"\n`;
      const daemon = await scene.daemon({ storeDirectory: store, moreConfig });
      const handedOver: MadeFile[] = [];
      for (let cut = 0; cut < CUTS; cut += 1) {
        for (let at = 0; at < 4; at += 1) {
          const file = segmentOf(cut * 100 + at + 1);
          const outcome = await scene.walarc(["push", "--spool", spool, await scene.source(file)], {
            server: "",
          });
          expect(outcome).toMatchObject({ status: 0 });
          handedOver.push(file);
        }
        mount.pullPlug();
        await daemon.kill();
        await mount.comeBack();
        await daemon.start();
        await expectEverywhere(handedOver, { daemon, spool });
      }
      await eventually("the spool is empty", () => readdirSync(spool).join() === "rejected");
      const ledger = new Ledger();
      for (const file of handedOver) expect(await ledger.push(file, daemon)).toBe(200);
      expect(await ledger.broken(daemon)).toEqual([]);
    }, 180_000);
  });
}

/** Every file is in the spool or in the archive, and whole there. */
async function expectEverywhere(
  files: readonly MadeFile[],
  { daemon, spool }: { daemon: WalarcDaemon; spool: string },
): Promise<void> {
  for (const { name, bytes } of files) {
    const inSpool = readdirSync(spool).includes(name);
    // It may be archived between these two looks, and never the other way round.
    if (inSpool && safeRead(join(spool, name))?.equals(bytes)) continue;
    const { status, body } = await daemon.get(`/v1/clusters/main/wal/${name}`);
    expect({ name, status, isWhole: body.equals(bytes) }).toEqual({
      name,
      status: 200,
      isWhole: true,
    });
  }
}

function safeRead(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined; // Drained meanwhile.
  }
}
