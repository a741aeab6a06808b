import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, test } from "vitest";

/** What a fault test may need of the machine beyond Node. */
export type FaultTool = "root" | "ext4" | "xfs" | "strace" | "fsfreeze" | "pg_waldump";

const CHECKS: Readonly<Record<FaultTool, () => string | undefined>> = {
  root: () => (process.getuid?.() === 0 ? undefined : "not run as root"),
  ext4: () => missingPrograms("mkfs.ext4", "mount", "umount", "losetup", "perl"),
  xfs: () => missingPrograms("mkfs.xfs", "mount", "umount", "losetup", "perl"),
  strace: () => missingPrograms("strace") ?? straceRefusal(),
  fsfreeze: () => missingPrograms("fsfreeze"),
  pg_waldump: () => missingPrograms("pg_waldump"),
};

/** Where Debian keeps what only root needs; not always on the PATH. */
const SYSTEM_PATH = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/**
 * A `describe` for tests that need more than Node. Where a tool is missing they are skipped with a
 * loud word; with CI=true they fail, because there a fault that nobody plays is a hole in the net.
 */
export function describeFaults(
  title: string,
  options: { readonly needs: readonly FaultTool[] },
  body: () => void,
): void {
  const missing = options.needs.flatMap((tool) => CHECKS[tool]() ?? []);
  if (missing.length === 0) {
    describe(title, body);
    return;
  }
  const reason = `cannot play "${title}" here: ${missing.join(", ")}`;
  if (process.env["CI"] === "true") {
    test(title, () => {
      throw new Error(reason);
    });
    return;
  }
  process.stderr.write(`\n!!! SKIPPED: ${reason}\n`);
  describe.skip(`${title} (${missing.join(", ")})`, body);
}

/** A positive number from the environment, to make a loop longer than its quick default. */
export function loopLength(variable: string, usual: number): number {
  const text = process.env[variable];
  if (text === undefined || text === "") return usual;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${variable}="${text}" is no count`);
  return number;
}

/** The environment for programs of the system. */
export function systemEnvironment(): NodeJS.ProcessEnv {
  return { PATH: SYSTEM_PATH.join(delimiter), LC_ALL: "C" };
}

function missingPrograms(...names: string[]): string | undefined {
  const missing = names.filter(
    (name) => !SYSTEM_PATH.some((path) => isExecutable(join(path, name))),
  );
  return missing.length === 0 ? undefined : `no ${missing.join(", no ")}`;
}

/** A container may have strace and still not be allowed to trace. */
function straceRefusal(): string | undefined {
  try {
    execFileSync("strace", ["-o", "/dev/null", "true"], {
      env: systemEnvironment(),
      stdio: "pipe",
    });
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    return `strace does not work: ${message.trim().split("\n").at(-1)}`;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
