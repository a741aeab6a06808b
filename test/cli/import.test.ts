import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, filesBelow, reportLogsOf } from "../support/fault-scene.ts";
import { expectArchived } from "../support/archived.ts";
import {
  makeBackupHistory,
  makeHistory,
  makePartial,
  makeSegment,
  MIB,
  type MadeFile,
} from "../support/wal-maker.ts";

interface Summary {
  readonly files: number;
  readonly imported: number;
  readonly alreadyArchived: number;
  readonly refused: readonly { file: string; code: string }[];
  readonly strangers: readonly string[];
  readonly partials: readonly string[];
}

function segmentOf(number: number, seed?: string): MadeFile {
  const wish = { number, segmentSizeBytes: MIB };
  return makeSegment(seed === undefined ? wish : { ...wish, seed });
}

let scene: FaultScene;
reportLogsOf(() => scene);
beforeAll(async () => {
  scene = await FaultScene.open();
});
afterAll(() => scene?.[Symbol.asyncDispose]());

let directories = 0;

/** A plain archive directory that belongs to the account, and can be read only. */
function archiveOf(files: Record<string, Uint8Array>): string {
  const { uid, gid } = scene.workspace.account;
  const root = scene.workspace.path(`archive${(directories += 1)}`);
  mkdirSync(root);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), bytes, { mode: 0o400 });
    if (process.getuid?.() === 0) chownSync(join(root, path), uid, gid);
  }
  return root;
}

async function importAll(directory: string, daemon: WalarcDaemon) {
  const outcome = await scene.walarc(["import", directory, "--json"], { server: daemon.url });
  const summary = outcome.stdout === "" ? undefined : (JSON.parse(outcome.stdout) as Summary);
  return { ...outcome, summary };
}

describe("walarc import", () => {
  test("takes over all there is, compressed and in directories too, and leaves it as it was", async () => {
    const daemon = await scene.daemon();
    const files = [1, 2, 3, 4, 5, 6, 7].map((number) => segmentOf(number));
    const history = makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }]);
    const backup = makeBackupHistory({ number: 2, segmentSizeBytes: MIB });
    const nameOf = (at: number): string => files[at]?.name ?? "";
    const bytesOf = (at: number): Buffer => files[at]?.bytes ?? Buffer.alloc(0);
    const partial = makePartial({ number: 8, segmentSizeBytes: MIB });
    const directory = archiveOf({
      [nameOf(0)]: bytesOf(0),
      [`${nameOf(1)}.gz`]: gzipSync(bytesOf(1)),
      [`${nameOf(2)}.zst`]: zstdCompressSync(bytesOf(2)),
      [`0000000100000000/${nameOf(3)}`]: bytesOf(3),
      [`0000000100000000/${nameOf(4)}.lz4`]: program("lz4", bytesOf(4)),
      [`${nameOf(5)}.bz2`]: program("bzip2", bytesOf(5)),
      [`${nameOf(6)}.xz`]: program("xz", bytesOf(6)),
      [`${history.name}.gz`]: gzipSync(history.bytes),
      [backup.name]: backup.bytes,
      [partial.name]: partial.bytes,
      [`${segmentOf(9).name}.gz.partial`]: Buffer.from("x"),
      "README.txt": Buffer.from("hello"),
    });
    const before = await filesBelow(directory);
    const { status, summary } = await importAll(directory, daemon);
    expect({ status, ...summary }).toMatchObject({
      status: 0,
      files: 9,
      imported: 9,
      alreadyArchived: 0,
      refused: [],
      strangers: ["README.txt"],
      partials: [partial.name, `${segmentOf(9).name}.gz.partial`],
    });
    expect(await filesBelow(directory)).toEqual(before);
    const expected = [...files, history, backup].map(({ name, bytes }) => [name, bytes] as const);
    await expectArchived(new Map(expected), daemon);
    const first = daemon.logLines().find(({ msg }) => msg === "pushed");
    expect(first).toMatchObject({ wal: history.name });
  });

  test("does not send again what is archived, and goes on where it was interrupted", async () => {
    const daemon = await scene.daemon();
    const files = Array.from({ length: 12 }, (_, at) => segmentOf(at + 1));
    const directory = archiveOf(Object.fromEntries(files.map(({ name, bytes }) => [name, bytes])));
    for (const file of files.slice(0, 5)) {
      expect(await scene.push(file, { server: daemon.url })).toMatchObject({ status: 0 });
    }
    expect(await importAll(directory, daemon)).toMatchObject({
      status: 0,
      summary: { imported: 7, alreadyArchived: 5 },
    });
    const pushed = () => daemon.logLines().filter(({ msg }) => msg === "pushed").length;
    const before = pushed();
    expect(await importAll(directory, daemon)).toMatchObject({
      status: 0,
      summary: { imported: 0, alreadyArchived: 12 },
    });
    expect(pushed()).toBe(before);
  });

  test("survives a restart of the daemon in its middle", async () => {
    const daemon = await scene.daemon();
    const files = Array.from({ length: 150 }, (_, at) => segmentOf(at + 1));
    const directory = archiveOf(Object.fromEntries(files.map(({ name, bytes }) => [name, bytes])));
    const importing = importAll(directory, daemon);
    await delay(700);
    await daemon.kill();
    await daemon.start();
    const outcome = await importing;
    expect(outcome.stderr).toBe("");
    expect(outcome).toMatchObject({ status: 0, summary: { files: 150, refused: [] } });
    await expectArchived(new Map(files.map(({ name, bytes }) => [name, bytes])), daemon);
  });

  test("names what is refused, archives the rest, and does not end with success", async () => {
    const daemon = await scene.daemon();
    expect(await scene.push(segmentOf(1), { server: daemon.url })).toMatchObject({ status: 0 });
    const foreign = makeSegment({ number: 3, segmentSizeBytes: MIB, systemIdentifier: "7" });
    const directory = archiveOf({
      [segmentOf(1).name]: segmentOf(1, "other").bytes,
      [segmentOf(2).name]: segmentOf(2).bytes,
      [foreign.name]: foreign.bytes,
      [segmentOf(4).name]: segmentOf(4).bytes.subarray(0, 5000),
      [`${segmentOf(5).name}.gz`]: gzipSync(segmentOf(5).bytes).subarray(0, 100_000),
      [segmentOf(6).name]: segmentOf(6).bytes,
    });
    const { status, summary, stderr } = await importAll(directory, daemon);
    expect(status).toBe(FAILURES.conflict.exit);
    expect(stderr).toMatch(/^walarc: import: conflict: 4 files were refused, the first is /);
    expect(summary).toMatchObject({ imported: 2 });
    const codes = summary?.refused.map(({ code }) => code).sort();
    expect(codes).toEqual(["conflict", "local", "rejected", "rejected"]);
    const text = await scene.walarc(["import", directory], { server: daemon.url });
    expect(text.stdout).toContain("0 files imported, 2 archived already");
    expect(text.stdout).toContain("refused: 4");
  });

  test("of a directory that is not there, or to nobody, ends as it should", async () => {
    const daemon = await scene.daemon();
    const missing = await importAll("/nowhere", daemon);
    expect(missing).toMatchObject({ status: FAILURES.local.exit });
    const directory = archiveOf({ "00000002.history": Buffer.from("1\t0/500000\tx\n") });
    const denied = await scene.walarc(["import", directory, "--cluster", "NO"], {
      server: daemon.url,
    });
    expect(denied).toMatchObject({ status: FAILURES.usage.exit });
    expect(readdirSync(directory)).toEqual(["00000002.history"]);
  });
});

function program(name: string, bytes: Buffer): Buffer {
  return execFileSync(name, ["-c"], { input: bytes, maxBuffer: 10 * MIB });
}
