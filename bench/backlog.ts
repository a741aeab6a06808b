/** A real server with a backlog of real WAL that can be archived, and replayed, again and again. */
import { readFileSync } from "node:fs";
import { readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { type Installation, installWalarc } from "../test/support/installation.ts";
import { PostgresCluster } from "../test/support/postgres.ts";
import { findPostgres, type PostgresPrograms } from "../test/support/postgres-programs.ts";
import { Workspace } from "../test/support/workspace.ts";
import { type BenchToken, makeToken } from "./token.ts";

const SCALE = 50;
const SEGMENT_NAME = /^([0-9A-F]{24})\.(ready|done)$/;
const DRAIN_MS_MAX = 600_000;

/** Nothing is archived and nothing recycled while the backlog is made. */
const SETTINGS = {
  archive_mode: "on",
  archive_command: "true",
  wal_level: "replica",
  wal_keep_size: "16GB",
  max_wal_size: "16GB",
  shared_buffers: "256MB",
  synchronous_commit: "off",
};

export class Backlog implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly programs: PostgresPrograms;
  readonly installation: Installation;
  readonly postgres: PostgresCluster;
  readonly baseBackup: string;
  /** Full segments of 16 MB, oldest first; the base backup begins in the first one. */
  readonly segments: readonly string[];
  /** Where the newest of them ends. */
  readonly endLsn: string;
  readonly token: BenchToken;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Omit<Backlog, "pid" | "archive" | keyof AsyncDisposable>,
    stack: AsyncDisposableStack,
  ) {
    this.workspace = parts.workspace;
    this.programs = parts.programs;
    this.installation = parts.installation;
    this.postgres = parts.postgres;
    this.baseBackup = parts.baseBackup;
    this.segments = parts.segments;
    this.endLsn = parts.endLsn;
    this.token = parts.token;
    this.#stack = stack;
  }

  /** At least `segments` of them, written by pgbench after the base backup. Takes a minute or two. */
  static async make(options: { segments: number }): Promise<Backlog> {
    const programs = findPostgres();
    if ("missing" in programs)
      throw new Error(`no PostgreSQL to measure with: ${programs.missing}`);
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.create());
    const installation = await installWalarc(workspace);
    const server = { workspace, programs, name: "pg", env: installation.env };
    const postgres = await PostgresCluster.initialise({
      ...server,
      segmentSizeMb: 16,
      settings: SETTINGS,
    });
    stack.use(postgres);
    await postgres.start();
    await postgres.pgbench("-i", "-q", "-s", String(SCALE));
    const baseBackup = await postgres.baseBackup(workspace.path("base"), "none");
    const label = await readFile(join(baseBackup, "backup_label"), "utf8");
    const first = /\(file ([0-9A-F]{24})\)/.exec(label)?.[1] ?? "";
    const made = async () => (await namesIn(postgres, "done")).filter((name) => name >= first);
    while ((await made()).length < options.segments) {
      // Soon after a checkpoint WAL consists of pages, later of records: here is some of both.
      await postgres.query("checkpoint");
      await postgres.pgbench("-c", "8", "-j", "2", "-T", "10");
    }
    const endLsn = await postgres.archiveEverything();
    await postgres.archiverCaughtUp();
    const segments = await made();
    // From here on PostgreSQL itself is as durable as in production.
    await alter(postgres, { archive_command: "", fsync: "on" });
    const token = await makeToken(workspace);
    const parts = {
      workspace,
      programs,
      installation,
      postgres,
      baseBackup,
      segments,
      endLsn,
      token,
    };
    return new Backlog(parts, stack.move());
  }

  /** The first process of the server. */
  get pid(): number {
    return Number.parseInt(
      readFileSync(join(this.postgres.dataDirectory, "postmaster.pid"), "utf8"),
    );
  }

  /**
   * Lets the server's own archiver archive the newest `count` segments with `command`, and returns
   * how long it took. They become ready all at once, with the command already in place, so that
   * nobody can begin before the clock. (PostgreSQL's status files are renamed behind its back,
   * which nobody should do to a server that he means to keep.)
   */
  async archive(command: string, options: { count: number }): Promise<number> {
    const { postgres } = this;
    const failures = "select failed_count from pg_stat_archiver";
    const failuresBefore = await postgres.value(failures);
    await alter(postgres, { archive_command: command });
    await delay(200);
    const status = join(postgres.walDirectory, "archive_status");
    const startMs = performance.now();
    for (const name of this.segments.slice(-options.count)) {
      await rename(join(status, `${name}.done`), join(status, `${name}.ready`));
    }
    await postgres.query("select pg_reload_conf()"); // It wakes the archiver.
    while (postgres.waitingForArchiver().length > 0) {
      if (performance.now() - startMs > DRAIN_MS_MAX) {
        throw new Error(`"${command}" does not come to an end\n${postgres.logTail()}`);
      }
      await delay(5);
    }
    const wallMs = performance.now() - startMs;
    await delay(700); // The server counts its archiver's failures in steps of half a second.
    if ((await postgres.value(failures)) !== failuresBefore) {
      throw new Error(`"${command}" has failed\n${postgres.logTail()}`);
    }
    return wallMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

async function namesIn(postgres: PostgresCluster, state: "ready" | "done"): Promise<string[]> {
  const entries = await readdir(join(postgres.walDirectory, "archive_status"));
  const found = entries.map((entry) => SEGMENT_NAME.exec(entry));
  const names = found.filter((match) => match?.[2] === state).map((match) => match![1]!);
  return names.sort();
}

async function alter(postgres: PostgresCluster, settings: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(settings)) {
    await postgres.query(`alter system set ${name} = '${value.replaceAll("'", "''")}'`);
  }
  await postgres.query("select pg_reload_conf()");
}
