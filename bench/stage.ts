/** What all measurements share: real WAL, a daemon, and the tools to compare with, as far as installed. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { link, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../test/support/child.ts";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { type Installation, installWalarc } from "../test/support/installation.ts";
import { PostgresCluster } from "../test/support/postgres.ts";
import { findPostgres } from "../test/support/postgres-programs.ts";
import { Workspace } from "../test/support/workspace.ts";
import type { Surroundings } from "./measure.ts";

const TOKEN = "walarc_bench";
const PGBACKREST = "/usr/bin/pgbackrest";

export class Stage implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly installation: Installation;
  readonly postgres: PostgresCluster;
  /** Directory of archived 16 MB segments of pgbench. */
  readonly walDirectory: string;
  readonly segments: readonly string[];
  readonly daemon: WalarcDaemon;
  /** A daemon that reads the segments itself, in `hostDirectory`, as on the database's host. */
  readonly localDaemon: WalarcDaemon;
  readonly hostDirectory: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<
      Stage,
      | "workspace"
      | "installation"
      | "postgres"
      | "walDirectory"
      | "segments"
      | "daemon"
      | "localDaemon"
      | "hostDirectory"
    >,
    stack: AsyncDisposableStack,
  ) {
    this.workspace = parts.workspace;
    this.installation = parts.installation;
    this.postgres = parts.postgres;
    this.walDirectory = parts.walDirectory;
    this.segments = parts.segments;
    this.daemon = parts.daemon;
    this.localDaemon = parts.localDaemon;
    this.hostDirectory = parts.hostDirectory;
    this.#stack = stack;
  }

  /** `segments` full segments of 16 MB, written by pgbench. */
  static async set(options: { segments: number }): Promise<Stage> {
    const programs = findPostgres();
    if ("missing" in programs)
      throw new Error(`the benchmark needs PostgreSQL: ${programs.missing}`);
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.create());
    const installation = await installWalarc(workspace);
    const walDirectory = await workspace.makeDirectory("wal");
    const postgres = await PostgresCluster.initialise({
      workspace,
      programs,
      name: "pg",
      segmentSizeMb: 16,
      settings: {
        archive_mode: "on",
        archive_command: `cp %p ${walDirectory}/%f`,
        max_wal_size: "4GB",
        shared_buffers: "256MB",
        wal_level: "replica",
      },
    });
    stack.use(postgres);
    await postgres.start();
    await postgres.pgbench("-i", "-q", "-s", String(Math.max(10, options.segments * 2)));
    while ((await segmentsIn(walDirectory)).length < options.segments) {
      await postgres.pgbench("-c", "4", "-j", "2", "-T", "3");
      await postgres.archiverCaughtUp();
    }
    const segments = (await segmentsIn(walDirectory)).slice(0, options.segments);
    await workspace.writeFile(workspace.path("token"), TOKEN, 0o600);
    const sha256 = createHash("sha256").update(TOKEN).digest("hex");
    const moreConfig = `[[tokens]]
name = "bench"
sha256 = "${sha256}"
clusters = ["*"]
scopes = ["push", "fetch"]
`;
    const listen = "127.0.0.1:0";
    const daemon = await WalarcDaemon.prepare({ workspace, installation, listen, moreConfig });
    stack.use(daemon);
    await daemon.start();
    const hostDirectory = await hostWith(workspace, { postgres, walDirectory, segments });
    const localDaemon = await WalarcDaemon.prepare({
      workspace,
      installation,
      name: "local",
      moreConfig: `[clusters.bench]\ndata_directory = "${hostDirectory}"\n`,
    });
    stack.use(localDaemon);
    await localDaemon.start();
    const parts = {
      localDaemon,
      hostDirectory,
      workspace,
      installation,
      postgres,
      walDirectory,
      segments,
      daemon,
    };
    return new Stage(parts, stack.move());
  }

  /** How PostgreSQL would run its commands. */
  get surroundings(): Surroundings {
    return {
      account: this.workspace.account,
      cwd: this.postgres.dataDirectory,
      env: { ...this.installation.env, WALARC_SERVER: this.daemon.url, WALARC_CLUSTER: "bench" },
    };
  }

  /** Name and archive command of pgBackRest with each compression, or nothing when not installed. */
  async pgbackrest(): Promise<{ name: string; push: string; fetch: string }[]> {
    if (!existsSync(PGBACKREST)) return [];
    const tools: { name: string; push: string; fetch: string }[] = [];
    for (const compression of ["lz4", "zst"]) {
      const directory = await this.workspace.makeDirectory(`pgbackrest-${compression}`);
      const config = await this.workspace.writeFile(
        join(directory, "conf"),
        `[global]
repo1-path=${directory}/repo
log-path=${directory}
lock-path=${directory}/lock
spool-path=${directory}/spool
compress-type=${compression}
log-level-console=off
log-level-file=off
[bench]
pg1-path=${this.postgres.dataDirectory}
pg1-socket-path=${this.postgres.socketDirectory}
pg1-user=postgres
`,
      );
      const base = `${PGBACKREST} --config=${config} --stanza=bench`;
      await requireCommand("/bin/sh", ["-c", `${base} stanza-create`], this.surroundings);
      tools.push({
        name: `pgbackrest ${compression}`,
        push: `${base} archive-push`,
        fetch: `${base} archive-get`,
      });
    }
    return tools;
  }

  /** A new directory for results. */
  async directory(name: string): Promise<string> {
    return this.workspace.makeDirectory(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** A data directory as far as a push looks at it. */
async function hostWith(
  workspace: Workspace,
  from: { postgres: PostgresCluster; walDirectory: string; segments: readonly string[] },
): Promise<string> {
  const directory = await workspace.makeDirectory("host");
  await workspace.makeDirectory("host/global");
  await workspace.makeDirectory("host/pg_wal");
  const controlFile = await readFile(join(from.postgres.dataDirectory, "global/pg_control"));
  await workspace.writeFile(join(directory, "global/pg_control"), controlFile);
  for (const name of from.segments) {
    await link(join(from.walDirectory, name), join(directory, "pg_wal", name));
  }
  return directory;
}

async function segmentsIn(directory: string): Promise<string[]> {
  mkdirSync(directory, { recursive: true });
  const names = (await readdir(directory)).filter((name) => /^[0-9A-F]{24}$/.test(name));
  return names.sort();
}
