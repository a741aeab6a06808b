import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { linkOrCopy } from "./workspace.ts";

/** One installation of PostgreSQL. */
export interface PostgresPrograms {
  readonly major: number;
  /** The directory of `initdb`, `postgres` and, in a whole installation, the client programs. */
  readonly bin: string;
}

const DEBIAN = "/usr/lib/postgresql";
const NEEDED = ["initdb", "postgres", "pg_ctl", "pg_basebackup", "pgbench", "pg_rewind"];

/** The newest whole installation of this machine, or why there is none. */
export function findPostgres(): PostgresPrograms | { readonly missing: string } {
  const majors = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(Number).filter(Number.isInteger) : [];
  for (const major of majors.sort((a, b) => b - a)) {
    const bin = join(DEBIAN, String(major), "bin");
    if (NEEDED.every((program) => isExecutable(join(bin, program)))) return { major, bin };
  }
  return { missing: `no ${DEBIAN}/*/bin holds ${NEEDED.join(", ")} (Debian: postgresql)` };
}

/**
 * A server from an npm package (`pg16`, `pg17`, `pg18`), laid out in `directory` where its account
 * can run it. The package leaves the links between its libraries to an install script, which may
 * not have run, so they are made here. There are no client programs in it.
 */
export async function packagedPostgres(
  major: number,
  directory: string,
): Promise<PostgresPrograms | { readonly missing: string }> {
  const native = packagedFiles(`pg${major}`);
  if (native === undefined) return { missing: `the npm package pg${major} is not installed` };
  await linkTree(native, directory);

  const links = JSON.parse(readFileSync(join(native, "pg-symlinks.json"), "utf8")) as Link[];
  for (const { source, target } of links) {
    const at = join(directory, relative("native", target));
    if (!existsSync(at)) await symlink(basename(source), at);
  }
  return { major, bin: join(directory, "bin") };
}

interface Link {
  readonly source: string;
  readonly target: string;
}

function packagedFiles(name: string): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return join(dirname(dirname(entry)), "native");
  } catch {
    return undefined; // npm skipped it: another processor or operating system
  }
}

async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await linkTree(source, target);
    else if (entry.isFile()) await linkOrCopy(source, target);
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
