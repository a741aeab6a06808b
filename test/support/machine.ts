import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { Systemd } from "./systemd.ts";

/** Gives a test its machine, or skips it. */
export type MachineOf = (skip: (note: string) => never) => Systemd;

/**
 * A machine for all tests of a file. `prepare` puts files into what comes over its root. Where a
 * machine may not be made (a plain container, no root) the tests are skipped with a loud word; with
 * CI=true they fail.
 */
export function useMachine(what: string, prepare: (root: string) => Promise<void>): MachineOf {
  let directory: string;
  let systemd: Systemd | undefined;
  let refusal = "";

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "walarc-"));
    const parts = { base: join(directory, "base"), added: join(directory, "added") };
    for (const part of Object.values(parts)) await mkdir(part);
    const log = join(directory, "log");
    await writeFile(log, "");
    await prepare(parts.added);
    try {
      systemd = await Systemd.boot({ ...parts, log });
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error);
    }
  });

  afterAll(async () => {
    await systemd?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  return (skip) => systemd ?? cannotTry(what, refusal, skip);
}

/** Skips a test of something that this machine does not allow; with CI=true it fails. */
export function cannotTry(what: string, why: string, skip: (note: string) => never): never {
  if (process.env["CI"] === "true") throw new Error(`cannot try ${what} here: ${why}`);
  process.stderr.write(`\n!!! SKIPPED: cannot try ${what} here: ${why}\n`);
  return skip(why);
}
