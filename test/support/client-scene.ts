import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Outcome, runCommand } from "./child.ts";
import { FaultServer, type Fault } from "./fault-server.ts";
import { type Installation, installWalarc } from "./installation.ts";
import { Workspace } from "./workspace.ts";

/**
 * What runs push and fetch: Node alone; and the standalone client where it could be built, with
 * what asks an attendant before it.
 */
export type Runtime = "node" | "standalone";

const STANDALONE = fileURLToPath(new URL("../../dist/walarc-client", import.meta.url));

export const RUNTIMES: readonly Runtime[] = existsSync(STANDALONE)
  ? ["node", "standalone"]
  : ["node"];

/** In whose service a fetch runs. */
export type Setting = "recovery" | "standby" | "other";

export const SETTINGS: readonly Setting[] = ["recovery", "standby", "other"];

/** Where PostgreSQL would run a command. */
export interface DataDirectory {
  readonly path: string;
  /** As PostgreSQL writes it for this setting: relative to the data directory. */
  readonly destination: string;
}

/** The client as PostgreSQL starts it: `bin/walarc` as a child, in a data directory. */
export class ClientScene implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly installation: Installation;
  #count = 0;

  private constructor(workspace: Workspace, installation: Installation) {
    this.workspace = workspace;
    this.installation = installation;
  }

  /** Without a runtime the launcher chooses, as it does for PostgreSQL. */
  static async create(runtime?: Runtime): Promise<ClientScene> {
    const workspace = await Workspace.create();
    const installation = await installWalarc(workspace);
    for (const program of runtime === "node" ? ["walarc-client", "walarc-call"] : []) {
      await rm(join(installation.walarc, "../../dist", program), { force: true });
    }
    return new ClientScene(workspace, installation);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.workspace[Symbol.asyncDispose]();
  }

  /** A path nobody else uses. */
  newPath(): string {
    this.#count += 1;
    return this.workspace.path(`${this.#count}`);
  }

  /** A server on a unix socket that does as told. */
  async serve(fault: Fault): Promise<FaultServer> {
    return await FaultServer.listen(fault, `${this.newPath()}.sock`);
  }

  /** A new directory that belongs to the account. */
  async newDirectory(): Promise<string> {
    return await this.workspace.makeDirectory(basename(this.newPath()));
  }

  async makeDataDirectory(setting: Setting): Promise<DataDirectory> {
    const path = await this.newDirectory();
    await this.workspace.makeDirectory(basename(path), "pg_wal");
    if (setting !== "other") {
      const signalFile = setting === "standby" ? "standby.signal" : "recovery.signal";
      await this.workspace.writeFile(join(path, signalFile), "");
    }
    return { path, destination: `pg_wal/${setting === "other" ? "the-file" : "RECOVERYXLOG"}` };
  }

  async run(
    args: readonly string[],
    options: { cwd?: string; env?: Readonly<Record<string, string>>; timeoutMs?: number } = {},
  ): Promise<Outcome> {
    return await runCommand(this.installation.walarc, args, {
      account: this.workspace.account,
      cwd: options.cwd ?? this.workspace.directory,
      env: { ...this.installation.env, ...options.env },
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    });
  }
}

/** What stands in `pg_wal`, hidden files and all. */
export async function filesOf(directory: DataDirectory): Promise<string[]> {
  return (await readdir(join(directory.path, "pg_wal"))).sort();
}
