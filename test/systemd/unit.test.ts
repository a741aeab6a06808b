import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const SYSTEMD = fileURLToPath(new URL("../../systemd", import.meta.url));
const UNIT = readFileSync(join(SYSTEMD, "walarc.service"), "utf8");
/** Tenths, as `systemd-analyze security` counts them: "exposure" from 0 (none) to 10. */
const EXPOSURE_MAX = 2.0;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "walarc-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** The unit with a command that is there, and with these drop-ins. */
function installUnit(name: string, dropIns: readonly string[] = []): string {
  const place = join(directory, name);
  mkdirSync(join(place, "walarc.service.d"), { recursive: true });
  for (const dropIn of dropIns) {
    const text = readFileSync(join(SYSTEMD, dropIn), "utf8");
    writeFileSync(join(place, "walarc.service.d", dropIn), text);
  }
  const unit = join(place, "walarc.service");
  writeFileSync(unit, UNIT.replaceAll("/usr/local/bin/walarc", "/bin/true"));
  return unit;
}

describe.each([
  ["the unit", []],
  ["the unit on a database host", ["database-host.conf"]],
])("%s", (name, dropIns: readonly string[]) => {
  test("is understood by systemd without a word", () => {
    const unit = installUnit(name, dropIns);
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", unit], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test(`exposes little: at most ${EXPOSURE_MAX} of 10`, () => {
    const unit = installUnit(name, dropIns);
    const threshold = `--threshold=${EXPOSURE_MAX * 10}`;
    const args = ["security", "--offline=true", "--no-pager", threshold, unit];
    const { status, stdout } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
    expect({ status, stdout }).toMatchObject({ status: 0 });
    const [, exposure] = /exposure level for walarc\.service: ([\d.]+)/.exec(stdout) ?? [];
    expect(Number(exposure)).toBeLessThanOrEqual(EXPOSURE_MAX);
  });
});

test("the unit leaves V8 its compiler, and the log no core dumps to explain", () => {
  expect(UNIT).not.toMatch(/^MemoryDenyWriteExecute=/m);
  expect(UNIT).toMatch(/^LimitCORE=0$/m);
  expect(UNIT).toMatch(/^UMask=0077$/m);
});

test("the watchdog is patient: its time is a multiple of what a sign of life may take", () => {
  const watchdogSeconds = Number(/^WatchdogSec=(\d+)$/m.exec(UNIT)?.[1]);
  expect(watchdogSeconds).toBeGreaterThanOrEqual(30);
  expect(UNIT).toMatch(/^NotifyAccess=all$/m);
});

test.skipIf(process.getuid?.() !== 0)(
  "sysusers and tmpfiles make the user and the directories that the unit and the sample name",
  () => {
    const root = join(directory, "root");
    for (const path of ["etc", "var/spool"]) mkdirSync(join(root, path), { recursive: true });
    const config = (name: string) => join(SYSTEMD, name);
    execFileSync("systemd-sysusers", [`--root=${root}`, config("walarc.sysusers")]);
    const [, uid, gid] =
      /^walarc:x:(\d+):(\d+):.*:\/var\/lib\/walarc:\/usr\/sbin\/nologin$/m.exec(
        readFileSync(join(root, "etc/passwd"), "utf8"),
      ) ?? [];
    expect(Number(uid)).toBeLessThan(1000);

    execFileSync("systemd-tmpfiles", ["--create", `--root=${root}`, config("walarc.tmpfiles")]);
    const etc = statSync(join(root, "etc/walarc"));
    expect([etc.mode & 0o777, etc.uid]).toEqual([0o755, 0]);
    const spool = statSync(join(root, "var/spool/walarc"));
    expect([spool.mode & 0o777, spool.uid, spool.gid]).toEqual([0o751, Number(uid), Number(gid)]);
  },
);
