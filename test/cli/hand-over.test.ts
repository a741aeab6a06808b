import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import {
  FIRST_PAGE,
  type MadeFile,
  makeBackupHistory,
  makeHistory,
  makePartial,
  makeSegment,
  MIB,
  SYSTEM_IDENTIFIER,
} from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 3, segmentSizeBytes: MIB });
const OTHER = makeSegment({ number: 3, segmentSizeBytes: MIB, seed: "other" });

describe.each(RUNTIMES)("walarc push --spool on %s", (runtime) => {
  let scene: ClientScene;
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  async function spoolAndSource(file: MadeFile = SEGMENT) {
    const [spool, directory] = [await scene.newDirectory(), await scene.newDirectory()];
    const source = await scene.workspace.writeFile(join(directory, file.name), file.bytes, 0o600);
    return { spool, source };
  }

  test.each([
    ["segment", SEGMENT],
    ["segment of 16 MB", makeSegment({ number: 9 })],
    ["partial segment", makePartial({ number: 3, segmentSizeBytes: MIB })],
    ["history file", makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }])],
    ["backup history file", makeBackupHistory({ number: 3, segmentSizeBytes: MIB })],
  ])("hands a %s over whole, without a daemon and without a word", async (_kind, file) => {
    const { spool, source } = await spoolAndSource(file);
    expect(await scene.run(["push", "--spool", spool, source])).toEqual({
      status: 0,
      signal: null,
      stdout: "",
      stderr: "",
    });
    expect(readdirSync(spool)).toEqual([file.name]);
    expect(readFileSync(join(spool, file.name)).equals(file.bytes)).toBe(true);
    expect(statSync(join(spool, file.name)).mode & 0o777).toBe(0o640);
  });

  test("succeeds again with the same content, also while its first copy is still there", async () => {
    const { spool, source } = await spoolAndSource();
    for (let round = 0; round < 3; round += 1) {
      expect(await scene.run(["push", "--spool", spool, source])).toMatchObject({ status: 0 });
    }
    expect(readdirSync(spool)).toEqual([SEGMENT.name]);
  });

  test.each([
    ["another content", OTHER.bytes],
    ["a copy that was cut short", SEGMENT.bytes.subarray(0, 5000)],
  ])("changes nothing where %s stands in its place", async (_title, bytes) => {
    const { spool, source } = await spoolAndSource();
    await scene.workspace.writeFile(join(spool, SEGMENT.name), bytes);
    const outcome = await scene.run(["push", "--spool", spool, source]);
    expect(outcome).toMatchObject({ status: FAILURES.conflict.exit });
    expect(outcome.stderr).toMatch(/^walarc: push [0-9A-F]{24}: conflict: .*\nhint: .*\n$/);
    expect(readdirSync(spool)).toEqual([SEGMENT.name]);
    expect(readFileSync(join(spool, SEGMENT.name)).equals(bytes)).toBe(true);
  });

  test.each([
    ["is no WAL", Buffer.alloc(MIB, "x"), SEGMENT.name],
    ["is cut short", SEGMENT.bytes.subarray(0, MIB / 2), SEGMENT.name],
    ["has another name's content", SEGMENT.bytes, "000000010000000000000004"],
    ["is an empty history file", Buffer.alloc(0), "00000002.history"],
    ["has no WAL file's name", SEGMENT.bytes, "hello"],
  ])("refuses a file that %s", async (_title, bytes, name) => {
    const { spool, source } = await spoolAndSource({ name, bytes });
    const outcome = await scene.run(["push", "--spool", spool, source]);
    expect(outcome).toMatchObject({ status: FAILURES.rejected.exit });
    expect(readdirSync(spool)).toEqual([]);
  });

  test("refuses WAL of another cluster than that in whose data directory it runs", async () => {
    const { spool, source } = await spoolAndSource();
    const cwd = await scene.newDirectory();
    mkdirSync(join(cwd, "global"));
    const control = Buffer.alloc(8192);
    control.writeBigUInt64LE(BigInt(SYSTEM_IDENTIFIER) + 1n);
    control.writeUInt32LE(1300, 8);
    await scene.workspace.writeFile(join(cwd, "global/pg_control"), control);
    const args = ["push", "--spool", spool, source];
    expect(await scene.run(args, { cwd })).toMatchObject({ status: FAILURES.rejected.exit });
    const falsified = Buffer.from(SEGMENT.bytes);
    const identifier = BigInt(SYSTEM_IDENTIFIER) + 1n;
    falsified.writeBigUInt64LE(identifier, FIRST_PAGE.systemIdentifier);
    await scene.workspace.writeFile(source, falsified);
    expect(await scene.run(args, { cwd })).toMatchObject({ status: 0 });
  });

  test("refuses a spool that everybody may write to", async () => {
    const { spool, source } = await spoolAndSource();
    await chmod(spool, 0o777);
    const outcome = await scene.run(["push", "--spool", spool, source]);
    expect(outcome).toMatchObject({ status: FAILURES.usage.exit });
    expect(outcome.stderr).toContain("is writable by everybody");
    expect(readdirSync(spool)).toEqual([]);
  });

  test.each([
    ["is not there", (path: string) => join(path, "nowhere")],
    ["may not be written to", (path: string) => (execFileSync("chmod", ["0500", path]), path)],
  ])("ends with local when the spool %s", async (_title, change) => {
    const { spool, source } = await spoolAndSource();
    const outcome = await scene.run(["push", "--spool", change(spool), source]);
    expect(outcome).toMatchObject({ status: FAILURES.local.exit });
    expect(outcome.stderr).toMatch(/^walarc: push [0-9A-F]{24}: local: cannot write /);
  });

  test("follows no link that stands in its place", async () => {
    const { spool, source } = await spoolAndSource();
    const outside = await scene.workspace.writeFile(scene.newPath(), "precious");
    symlinkSync(outside, join(spool, SEGMENT.name));
    const outcome = await scene.run(["push", "--spool", spool, source]);
    expect(outcome).toMatchObject({ status: FAILURES.local.exit });
    expect(readFileSync(outside, "utf8")).toBe("precious");
    expect(readdirSync(spool)).toEqual([SEGMENT.name]);
  });

  test("lets many hand over the same file at once: all succeed, and there is one", async () => {
    const { spool, source } = await spoolAndSource();
    const runs = Array.from({ length: 8 }, () => scene.run(["push", "--spool", spool, source]));
    for (const outcome of await Promise.all(runs)) expect(outcome).toMatchObject({ status: 0 });
    expect(readdirSync(spool)).toEqual([SEGMENT.name]);
    expect(readFileSync(join(spool, SEGMENT.name)).equals(SEGMENT.bytes)).toBe(true);
  });

  test("of many with two contents, lets those of one succeed and no other", async () => {
    const { spool, source } = await spoolAndSource();
    const other = await scene.workspace.writeFile(
      join(await scene.newDirectory(), OTHER.name),
      OTHER.bytes,
    );
    const paths = Array.from({ length: 8 }, (_, at) => (at % 2 === 0 ? source : other));
    const runs = paths.map((path) => scene.run(["push", "--spool", spool, path]));
    const statuses = (await Promise.all(runs)).map(({ status }) => status);
    const winner = readFileSync(join(spool, SEGMENT.name)).equals(SEGMENT.bytes) ? source : other;
    const expected = paths.map((path) => (path === winner ? 0 : FAILURES.conflict.exit));
    expect(statuses).toEqual(expected);
  });
});
