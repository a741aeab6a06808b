/** What the pushes and fetches one by one share: real WAL, and daemons that stand beside it. */
import { link } from "node:fs/promises";
import { join } from "node:path";
import { WalarcDaemon } from "../test/support/daemon.ts";
import type { Backlog } from "./backlog.ts";
import type { Surroundings } from "./measure.ts";
import { hasPgbackrest, Pgbackrest } from "./pgbackrest.ts";

export class Stage implements AsyncDisposable {
  readonly backlog: Backlog;
  /** The segments in another place than `pg_wal`. */
  readonly walDirectory: string;
  readonly segments: readonly string[];
  readonly daemon: WalarcDaemon;
  /** A daemon that reads the segments itself, as on the database's host. */
  readonly localDaemon: WalarcDaemon;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<Stage, "backlog" | "walDirectory" | "segments" | "daemon" | "localDaemon">,
    stack: AsyncDisposableStack,
  ) {
    this.backlog = parts.backlog;
    this.walDirectory = parts.walDirectory;
    this.segments = parts.segments;
    this.daemon = parts.daemon;
    this.localDaemon = parts.localDaemon;
    this.#stack = stack;
  }

  /** The newest `segments` of the backlog. */
  static async set(backlog: Backlog, options: { segments: number }): Promise<Stage> {
    await using stack = new AsyncDisposableStack();
    const { workspace, installation, postgres, token } = backlog;
    const segments = backlog.segments.slice(-options.segments);
    const walDirectory = await workspace.makeDirectory("wal");
    for (const name of segments) {
      await link(join(postgres.walDirectory, name), join(walDirectory, name));
    }
    const daemon = await WalarcDaemon.prepare({
      workspace,
      installation,
      listen: "127.0.0.1:0",
      moreConfig: token.config,
    });
    stack.use(daemon);
    await daemon.start();
    const localDaemon = await WalarcDaemon.prepare({
      workspace,
      installation,
      name: "local",
      moreConfig: `[clusters.bench]\ndata_directory = "${postgres.dataDirectory}"\n`,
    });
    stack.use(localDaemon);
    await localDaemon.start();
    const parts = { backlog, walDirectory, segments, daemon, localDaemon };
    return new Stage(parts, stack.move());
  }

  /** How PostgreSQL would run its commands. */
  get surroundings(): Surroundings {
    const { workspace, installation, postgres } = this.backlog;
    return {
      account: workspace.account,
      cwd: postgres.dataDirectory,
      env: { ...installation.env, WALARC_SERVER: this.daemon.url, WALARC_CLUSTER: "bench" },
    };
  }

  /** pgBackRest with each compression, or nothing where it is not installed. */
  async pgbackrest(): Promise<{ name: string; repository: Pgbackrest }[]> {
    if (!hasPgbackrest()) return [];
    const { workspace, postgres } = this.backlog;
    const tools: { name: string; repository: Pgbackrest }[] = [];
    for (const compression of ["lz4", "zst"] as const) {
      const name = `pgbackrest-${compression}`;
      const options = { workspace, postgres, name, compression, manner: "sync" } as const;
      const repository = this.#stack.use(await Pgbackrest.create(options));
      tools.push({ name: `pgbackrest ${compression}`, repository });
    }
    return tools;
  }

  /** A new directory for results. */
  async directory(name: string): Promise<string> {
    return this.backlog.workspace.makeDirectory(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
