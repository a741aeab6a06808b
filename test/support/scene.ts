import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Outcome, requireCommand, runCommand } from "./child.ts";
import { type DaemonOptions, WalarcDaemon } from "./daemon.ts";
import { type Installation, installWalarc } from "./installation.ts";
import { PostgresCluster, type PostgresOptions } from "./postgres.ts";
import { findPostgres, type PostgresPrograms } from "./postgres-programs.ts";
import type { Settings } from "./postgres-settings.ts";
import { missingOfRgw, Rgw } from "./rgw.ts";
import { Workspace } from "./workspace.ts";

/** A server and the way it reaches the archive. */
interface ServerOptions {
  readonly name: string;
  /** `WALARC_SERVER` of its commands. */
  readonly server: string;
  /** `WALARC_CLUSTER` of its commands. */
  readonly cluster?: string;
  readonly settings?: Settings;
  /** `WALARC_TIMEOUT` of its commands; the product's own when not given. */
  readonly timeoutSeconds?: number;
  /** More for the environment of its commands. */
  readonly env?: Readonly<Record<string, string>>;
  /** Another PostgreSQL than this machine's own. */
  readonly programs?: PostgresPrograms;
}

/**
 * Everything an end-to-end test plays with, in one temporary directory: real PostgreSQL servers,
 * real daemons, and the commands between them, all run as an account without rights.
 */
export class Scene implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly installation: Installation;
  readonly programs: PostgresPrograms;
  readonly #stack = new AsyncDisposableStack();
  readonly #logs: (() => string)[] = [];

  private constructor(workspace: Workspace, parts: [Installation, PostgresPrograms]) {
    this.workspace = this.#stack.use(workspace);
    [this.installation, this.programs] = parts;
  }

  static async open(programs: PostgresPrograms): Promise<Scene> {
    const workspace = await Workspace.create();
    return new Scene(workspace, [await installWalarc(workspace), programs]);
  }

  /** From now on push and fetch run on Node, as where the standalone client was not built. */
  async withoutStandaloneClient(): Promise<void> {
    await rm(join(this.installation.walarc, "../../dist/walarc-client"), { force: true });
  }

  /** Starts `walarc serve`; it ends with the scene. */
  async daemon(options: Partial<DaemonOptions> = {}): Promise<WalarcDaemon> {
    const { workspace, installation } = this;
    const daemon = await WalarcDaemon.prepare({ workspace, installation, ...options });
    this.#stack.use(daemon);
    this.#logs.push(() => daemon.logTail());
    await daemon.start();
    return daemon;
  }

  /** The S3 server of the scene, which it starts when first asked. */
  async rgw(): Promise<Rgw> {
    this.#rgw ??= Rgw.start(this.workspace).then((rgw) => this.#stack.use(rgw));
    return this.#rgw;
  }
  #rgw: Promise<Rgw> | undefined;

  /** A started primary that archives with `walarc push`. */
  async primary(options: ServerOptions & { segmentSizeMb?: number }): Promise<PostgresCluster> {
    const { segmentSizeMb = 1 } = options;
    const server = { ...(await this.#server(options)), segmentSizeMb };
    const primary = await PostgresCluster.initialise(server);
    this.#adopt(primary);
    await primary.start();
    return primary;
  }

  /** A server on a copy of `backup` that restores with `walarc fetch`; to be made something yet. */
  async restored(backup: string, options: ServerOptions): Promise<PostgresCluster> {
    const server = await PostgresCluster.restore(backup, await this.#server(options));
    this.#adopt(server);
    return server;
  }

  /** A started hot standby on a copy of `backup` that knows only the archive. */
  async standby(backup: string, options: ServerOptions): Promise<PostgresCluster> {
    const settings = { wal_retrieve_retry_interval: "200ms", ...options.settings };
    const standby = await this.restored(backup, { ...options, settings });
    await standby.becomeStandby();
    await standby.start();
    return standby;
  }

  /** What these servers gave to be archived, by name. Two may give the same file, byte for byte. */
  async archivedBy(...servers: readonly PostgresCluster[]): Promise<Map<string, Buffer>> {
    const files: [string, Buffer][] = [];
    for (const server of servers) {
      const kept = this.workspace.path(`${server.name}.archived`);
      for (const name of await readdir(kept)) files.push([name, await readFile(join(kept, name))]);
    }
    return new Map(files.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Runs `walarc` as a person would. */
  async walarc(args: readonly string[], server: string): Promise<Outcome> {
    return runCommand(this.installation.walarc, args, this.#surroundings(server));
  }

  /** Runs `walarc`, which must succeed, and reads the JSON that it prints. */
  async walarcJson<T>(args: readonly string[], server: string): Promise<T> {
    const surroundings = this.#surroundings(server);
    return JSON.parse(await requireCommand(this.installation.walarc, args, surroundings)) as T;
  }

  /** Pushes a file that `server` gave to be archived, as a person would. */
  async pushAgain(name: string, server: PostgresCluster, url: string): Promise<void> {
    const path = this.workspace.path(`${server.name}.archived`, name);
    await requireCommand(this.installation.walarc, ["push", path], this.#surroundings(url));
  }

  /** Fetches a WAL file as a person would; its bytes. */
  async fetch(name: string, server: string): Promise<Buffer> {
    const target = this.workspace.path(`fetched-${name}`);
    const surroundings = this.#surroundings(server);
    await requireCommand(this.installation.walarc, ["fetch", name, target], surroundings);
    return readFile(target);
  }

  /** A name that no server, daemon or directory of the scene has yet. */
  freshName(stem: string): string {
    return `${stem}-${(this.#names += 1)}`;
  }
  #names = 0;

  /** A copy of a directory, with its owner. */
  async copy(directory: string, name: string): Promise<string> {
    const copy = this.workspace.path(name);
    await requireCommand("/bin/cp", ["-a", directory, copy], this.#surroundings(""));
    return copy;
  }

  /** How many servers and daemons the scene has had. */
  get logCount(): number {
    return this.#logs.length;
  }

  /** The ends of their logs, without the first `skip` of them. */
  logTails(skip = 0): string {
    return this.#logs
      .slice(skip)
      .map((log) => log())
      .join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #adopt(server: PostgresCluster): void {
    this.#stack.use(server);
    this.#logs.push(() => server.logTail());
  }

  async #server(options: ServerOptions): Promise<PostgresOptions> {
    const { workspace } = this;
    const { name, server, cluster = "main", programs = this.programs, timeoutSeconds } = options;
    const timeout = timeoutSeconds === undefined ? {} : { WALARC_TIMEOUT: String(timeoutSeconds) };
    const target = { WALARC_SERVER: server, WALARC_CLUSTER: cluster };
    const env = { ...this.installation.env, ...target, ...timeout, ...options.env };
    const kept = await workspace.makeDirectory(`${name}.archived`);
    const settings = {
      archive_mode: "on",
      // A copy of what is archived, to compare with.
      archive_command: `cp %p ${kept}/%f && walarc push %p`,
      restore_command: "walarc fetch %f %p",
      ...options.settings,
    };
    return { workspace, programs, name, settings, env };
  }

  #surroundings(server: string) {
    const { account, directory } = this.workspace;
    const env = { ...this.installation.env, WALARC_SERVER: server };
    return { account, cwd: directory, env };
  }
}

/** Says why a test cannot run here; in CI that is a failure. */
export function cannotRun(missing: string, skip: (note: string) => never): never {
  const reason = `NOT TESTED on this machine: ${missing}`;
  if (process.env["CI"] === "true") throw new Error(reason);
  process.stderr.write(`\n${expect.getState().currentTestName}: ${reason}\n`);
  return skip(reason);
}

/**
 * A `describe` whose tests share one scene and may build on each other. Where there is no
 * PostgreSQL, or no S3 server for those who need one, it says so instead, and fails in CI, so that
 * nobody takes silence for success.
 */
export function describeScene(
  title: string,
  body: (scene: () => Scene) => void,
  { needs = [] }: { needs?: readonly "rgw"[] } = {},
): void {
  const programs = findPostgres();
  if ("missing" in programs) {
    describe(title, () => {
      test("needs a PostgreSQL installation", ({ skip }) => cannotRun(programs.missing, skip));
    });
    return;
  }
  const missing = needs.includes("rgw") ? missingOfRgw() : [];
  if (missing.length > 0) {
    describe(title, () => {
      test("needs Ceph's gateway", ({ skip }) => cannotRun(`no ${missing.join(", no ")}`, skip));
    });
    return;
  }

  describe(title, () => {
    let scene: Scene;
    let logsBefore = 0;
    beforeAll(async () => {
      scene = await Scene.open(programs);
    });
    beforeEach(() => {
      // Tests that go on from one another share servers; the others have their own.
      logsBefore = scene.logCount;
    });
    afterEach(({ task }) => {
      if (task.result?.state !== "fail") return;
      const own = scene.logCount > logsBefore ? logsBefore : 0;
      process.stderr.write(`${scene.logTails(own)}\n`);
    });
    afterAll(async () => {
      await scene?.[Symbol.asyncDispose]();
    });
    body(() => scene);
  });
}
