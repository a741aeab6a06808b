/** pgBackRest as its manual sets it up, where it is installed. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../test/support/child.ts";
import type { PostgresCluster } from "../test/support/postgres.ts";
import type { Workspace } from "../test/support/workspace.ts";

const PROGRAM = "/usr/bin/pgbackrest";

export interface PgbackrestOptions {
  readonly workspace: Workspace;
  /** Running. */
  readonly postgres: PostgresCluster;
  readonly name: string;
  readonly compression: "lz4" | "zst";
  /** `async`: with four processes and a spool, as its manual advises for busy servers. */
  readonly manner: "sync" | "async";
  /** Processes of the asynchronous manner. */
  readonly processes?: number;
  /** Lines that say where the repository is; in a directory of its own without them. */
  readonly repository?: string;
}

/** Says once that it is missing, so that nobody takes a table without it for the whole one. */
export function hasPgbackrest(): boolean {
  const isThere = existsSync(PROGRAM);
  if (!isThere && !hasTold) process.stdout.write("pgBackRest is not installed: not compared\n");
  hasTold = true;
  return isThere;
}

let hasTold = false;

/** A new, empty repository, and how a command on it begins. */
export class Pgbackrest implements AsyncDisposable {
  readonly directory: string;
  readonly base: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.base = `${PROGRAM} --config=${join(directory, "conf")} --stanza=bench`;
  }

  static async create(options: PgbackrestOptions): Promise<Pgbackrest> {
    const { workspace, postgres, compression, manner } = options;
    const directory = await workspace.makeDirectory(options.name);
    const pgbackrest = new Pgbackrest(directory);
    const { processes = 4, repository = `repo1-path=${directory}/repo` } = options;
    const asynchronous = `archive-async=y\nprocess-max=${processes}\n`;
    await workspace.writeFile(
      join(directory, "conf"),
      `[global]
${repository}
log-path=${directory}
lock-path=${directory}/lock
spool-path=${directory}/spool
compress-type=${compression}
log-level-console=off
log-level-file=off
${manner === "async" ? asynchronous : ""}[bench]
pg1-path=${postgres.dataDirectory}
pg1-socket-path=${postgres.socketDirectory}
pg1-user=postgres
`,
    );
    await workspace.makeDirectory(options.name, "spool");
    const surroundings = { account: workspace.account, cwd: directory, env: { LC_ALL: "C" } };
    await requireCommand("/bin/sh", ["-c", `${pgbackrest.base} stanza-create`], surroundings);
    return pgbackrest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its process in the background may still be tidying up.
    await rm(this.directory, { recursive: true, force: true, maxRetries: 10 });
  }
}
