import { chown, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FaultScene } from "./fault-scene.ts";
import { callWal, type WalAnswer } from "./wal-http.ts";
import type { MadeFile } from "./wal-maker.ts";

/** A data directory as far as its WAL goes, in which files are finished as PostgreSQL does it. */
export class Host {
  readonly directory: string;
  readonly #account: { readonly uid?: number | undefined; readonly gid?: number | undefined };

  private constructor(directory: string, account: FaultScene["workspace"]["account"]) {
    this.directory = directory;
    this.#account = account;
  }

  static async make(scene: FaultScene): Promise<Host> {
    const { workspace } = scene;
    const host = new Host(workspace.path("host"), workspace.account);
    for (const part of ["", "pg_wal", "pg_wal/archive_status"]) {
      await mkdir(join(host.directory, part), { mode: 0o700 });
      await host.#give(join(host.directory, part));
    }
    return host;
  }

  /** Of a daemon that reads it. */
  get config(): string {
    return `[clusters.main]\ndata_directory = "${this.directory}"\n`;
  }

  /** The file first, then its `.ready`. */
  async finish(file: MadeFile): Promise<void> {
    await writeFile(this.#path(file.name), file.bytes, { mode: 0o600 });
    await this.#give(this.#path(file.name));
    await writeFile(this.#status(file.name, "ready"), "");
  }

  /** One call of the archiver: of a success it makes a `.done`. */
  async call(name: string, options: { socketPath: string }): Promise<WalAnswer> {
    const answer = await callWal(this.#path(name), options);
    const isGood = answer.status === 200 || answer.status === 201;
    if (isGood) await rename(this.#status(name, "ready"), this.#status(name, "done"));
    return answer;
  }

  #path(name: string): string {
    return join(this.directory, "pg_wal", name);
  }

  #status(name: string, status: "ready" | "done"): string {
    return this.#path(`archive_status/${name}.${status}`);
  }

  async #give(path: string): Promise<void> {
    const { uid, gid } = this.#account;
    if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
  }
}
