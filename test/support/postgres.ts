import { readdirSync } from "node:fs";
import { appendFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { logTail, type Outcome, readLog, requireCommand, runCommand, Service } from "./child.ts";
import { eventually, Hopeless } from "./eventually.ts";
import type { PostgresPrograms } from "./postgres-programs.ts";
import { queryPostgres } from "./postgres-query.ts";
import { type Settings, settingLines, TEST_SETTINGS } from "./postgres-settings.ts";
import type { Workspace } from "./workspace.ts";

export interface PostgresOptions {
  readonly workspace: Workspace;
  readonly programs: PostgresPrograms;
  readonly name: string;
  readonly settings?: Settings;
  /** Added to the environment of the server, and so of its archive_command and restore_command. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a server that was started as a recovery has turned out. */
export type RecoveryEnd =
  | { readonly kind: "stopped"; readonly log: string }
  | { readonly kind: "open"; readonly log: string };

/** One PostgreSQL server with its data directory, reached over a unix socket only. */
export class PostgresCluster implements AsyncDisposable {
  readonly name: string;
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly logFile: string;
  readonly #workspace: Workspace;
  readonly #programs: PostgresPrograms;
  readonly #env: NodeJS.ProcessEnv;
  #service: Service | undefined;

  private constructor(options: PostgresOptions) {
    this.name = options.name;
    this.#workspace = options.workspace;
    this.#programs = options.programs;
    this.socketDirectory = options.workspace.path(options.name);
    this.dataDirectory = join(this.socketDirectory, "data");
    this.logFile = join(this.socketDirectory, "log");
    this.#env = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC", ...options.env };
  }

  /** A new, empty database cluster, not yet started. */
  static async initialise(
    options: PostgresOptions & { segmentSizeMb?: number },
  ): Promise<PostgresCluster> {
    const cluster = new PostgresCluster(options);
    await options.workspace.makeDirectory(options.name);
    // Checksums let pg_rewind work on it.
    const format = [`--wal-segsize=${options.segmentSizeMb ?? 1}`, "--data-checksums"];
    const account = ["--username=postgres", "--auth=trust"];
    const rest = ["--encoding=UTF8", "--no-locale", "--no-sync"];
    await cluster.#run("initdb", ["-D", cluster.dataDirectory, ...format, ...account, ...rest]);
    await cluster.configure({ ...TEST_SETTINGS, ...options.settings });
    return cluster;
  }

  /**
   * A server on a copy of `source`: a base backup, or the data directory of a stopped server. It
   * keeps the settings of the original where `settings` says nothing else.
   */
  static async restore(source: string, options: PostgresOptions): Promise<PostgresCluster> {
    const cluster = new PostgresCluster(options);
    await options.workspace.makeDirectory(options.name);
    await cluster.#run("/bin/cp", ["-a", source, cluster.dataDirectory]);
    await cluster.configure(options.settings ?? {});
    return cluster;
  }

  get walDirectory(): string {
    return join(this.dataDirectory, "pg_wal");
  }

  get isRunning(): boolean {
    return this.#service?.isRunning ?? false;
  }

  /** Resolves when the server process has ended, with its exit status or signal. */
  get ended(): Promise<number | NodeJS.Signals> {
    if (this.#service === undefined) throw new Error(`${this.name} was never started`);
    return this.#service.ended;
  }

  log(): string {
    return readLog(this.logFile);
  }

  logTail(): string {
    return logTail(this.logFile);
  }

  /** Appends settings, which win over earlier ones. The server reads them when it starts. */
  async configure(settings: Settings): Promise<void> {
    const own = { ...settings, unix_socket_directories: this.socketDirectory };
    await appendFile(join(this.dataDirectory, "postgresql.conf"), settingLines(own));
  }

  /** Makes the next start a standby. */
  async becomeStandby(): Promise<void> {
    await this.#workspace.writeFile(join(this.dataDirectory, "standby.signal"), "");
  }

  /** Makes the next start an archive recovery that ends by opening the database. */
  async becomeRecovery(): Promise<void> {
    await this.#workspace.writeFile(join(this.dataDirectory, "recovery.signal"), "");
  }

  /**
   * Starts the server process, for this once with `env` added to its environment, and does not wait
   * for what becomes of it.
   */
  launch(env: Readonly<Record<string, string>> = {}): void {
    if (this.isRunning) throw new Error(`${this.name} is running already`);
    this.#service = new Service(this.#program("postgres"), ["-D", this.dataDirectory], {
      ...this.#surroundings(),
      env: { ...this.#env, ...env },
      name: this.name,
      logFile: this.logFile,
    });
  }

  /** Starts the server and waits until it answers queries. */
  async start(): Promise<void> {
    this.launch();
    await this.eventually("it answers queries", async () => {
      if (!this.isRunning) throw new Hopeless(`${this.name} ended at its start\n${this.logTail()}`);
      return (await this.value("select 1")) === "1";
    });
  }

  /** Asks the server to end in one of PostgreSQL's three ways, and waits until it has. */
  async stop(mode: "smart" | "fast" | "immediate" = "fast"): Promise<number | NodeJS.Signals> {
    const signals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const;
    this.#service?.signal(signals[mode]);
    return this.ended;
  }

  /** Ends every process of the server at once, as losing the machine would. */
  async kill(): Promise<void> {
    await this.#service?.killAll();
  }

  async restart(): Promise<void> {
    await this.stop("fast");
    await this.start();
  }

  /** Ends the standby's recovery; resolves when the server takes writes. */
  async promote(): Promise<void> {
    // Not waiting in the server: the waiting query itself could hold up the replay.
    await this.query("select pg_promote(false)");
    await this.eventually("it is promoted", async () => {
      if (!this.isRunning) throw new Hopeless(`${this.name} is down\n${this.logTail()}`);
      return !(await this.isInRecovery());
    });
  }

  async query(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return queryPostgres(this.socketDirectory, sql, values);
  }

  /** The first column of the first row, as text. */
  async value(sql: string, values: unknown[] = []): Promise<string> {
    const [row] = await this.query(sql, values);
    return String(Object.values(row ?? {})[0]);
  }

  /** Closes the current segment; returns where in the WAL it ended. */
  async switchWal(): Promise<string> {
    return this.value("select pg_switch_wal()::text");
  }

  async pgbench(...args: string[]): Promise<string> {
    const connection = ["-h", this.socketDirectory, "-p", "5432", "-U", "postgres"];
    return this.#run("pgbench", [...args, ...connection, "postgres"]);
  }

  /** Takes a base backup into a new directory; `wal` as pg_basebackup's -X. */
  async baseBackup(directory: string, wal: "none" | "stream"): Promise<string> {
    const connection = ["-h", this.socketDirectory, "-p", "5432", "-U", "postgres"];
    const manner = ["-X", wal, "--checkpoint=fast", "--no-sync"];
    await this.#run("pg_basebackup", ["-D", directory, ...manner, ...connection]);
    return directory;
  }

  /** Rewinds this stopped server to where `source` can lead it, with WAL from restore_command. */
  async rewindTo(source: PostgresCluster): Promise<Outcome> {
    const connection = `host=${source.socketDirectory} port=5432 user=postgres dbname=postgres`;
    const target = ["--target-pgdata", this.dataDirectory, "--restore-target-wal", "--no-sync"];
    const args = [...target, "--source-server", connection];
    return runCommand(this.#program("pg_rewind"), args, this.#surroundings());
  }

  /** What pg_controldata says under `label`. */
  async controlData(label: string): Promise<string> {
    const lines = await this.#run("pg_controldata", ["-D", this.dataDirectory]);
    const line = lines.split("\n").find((entry) => entry.startsWith(`${label}:`));
    return line?.slice(label.length + 1).trim() ?? "";
  }

  /** Names that PostgreSQL still wants to see archived. */
  waitingForArchiver(): string[] {
    const names = readdirSync(join(this.walDirectory, "archive_status"));
    return names.filter((name) => name.endsWith(".ready")).map((name) => name.slice(0, -6));
  }

  /** Resolves when the archiver has nothing left to do. */
  async archiverCaughtUp(deadlineMs = 60_000): Promise<void> {
    const idle = (): boolean => this.waitingForArchiver().length === 0;
    await this.eventually("its archiver has caught up", idle, deadlineMs);
  }

  /** Closes the current segment and resolves when all WAL so far is archived; returns its end. */
  async archiveEverything(): Promise<string> {
    const end = await this.switchWal();
    const name = await this.value("select pg_walfile_name($1::pg_lsn - 1)", [end]);
    // Under load there is always something waiting, but not this one and what came before.
    const isArchived = (): boolean => this.waitingForArchiver().every((other) => other > name);
    await this.eventually(`${name} is archived`, isArchived, 60_000);
    return end;
  }

  /** Resolves when this standby has replayed up to `lsn`. */
  async replayed(lsn: string, deadlineMs = 60_000): Promise<void> {
    await this.eventually(
      `it has replayed ${lsn}`,
      async () => {
        if (!this.isRunning) throw new Hopeless(`${this.name} is down\n${this.logTail()}`);
        return (
          (await this.value("select pg_last_wal_replay_lsn() >= $1::pg_lsn", [lsn])) === "true"
        );
      },
      deadlineMs,
    );
  }

  async isInRecovery(): Promise<boolean> {
    return (await this.value("select pg_is_in_recovery()")) === "true";
  }

  /** How the recovery ends: the server stops, or opens the database. */
  async recoveryEnd(deadlineMs = 60_000): Promise<RecoveryEnd> {
    return this.eventually(
      "its recovery ends",
      async (): Promise<RecoveryEnd | undefined> => {
        if (!this.isRunning) return { kind: "stopped", log: this.log() };
        return (await this.isInRecovery()) ? undefined : { kind: "open", log: this.log() };
      },
      deadlineMs,
    );
  }

  /** Polls as `eventually` does, with this server's log as the evidence. */
  async eventually<T>(
    what: string,
    probe: () => T | Promise<T>,
    deadlineMs = 30_000,
  ): Promise<Exclude<T, undefined | false>> {
    const evidence = (): string => this.logTail();
    return eventually(`${this.name}: ${what}`, probe, { deadlineMs, evidence });
  }

  /** Ends the server and removes its data; the log stays as long as the workspace. */
  async [Symbol.asyncDispose](): Promise<void> {
    // An immediate stop takes a running archive_command along.
    this.#service?.signal("SIGQUIT");
    await this.#service?.killAll({ afterMs: 5000 });
    await rm(this.dataDirectory, { recursive: true, force: true });
  }

  #program(name: string): string {
    return name.startsWith("/") ? name : join(this.#programs.bin, name);
  }

  #surroundings(): { account: Workspace["account"]; cwd: string; env: NodeJS.ProcessEnv } {
    const { account } = this.#workspace;
    return { account, cwd: this.socketDirectory, env: this.#env };
  }

  async #run(program: string, args: readonly string[]): Promise<string> {
    const options = { ...this.#surroundings(), timeoutMs: 120_000 };
    return requireCommand(this.#program(program), args, options);
  }
}
