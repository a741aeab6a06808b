/** The ways to archive that are compared, each with a new and empty archive whenever it is asked. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { makeSegment } from "../test/support/wal-maker.ts";
import { pushWal } from "../test/support/wal-http.ts";
import type { Backlog } from "./backlog.ts";
import { hasPgbackrest, Pgbackrest, type PgbackrestOptions } from "./pgbackrest.ts";

export interface Archiver {
  readonly name: string;
  open(backlog: Backlog): Promise<OpenArchive>;
}

export interface OpenArchive extends AsyncDisposable {
  /** An archive_command. */
  readonly push: string;
  /** The restore_command of a server; `undefined` for what only pretends to archive. */
  readonly fetch: ((dataDirectory: string) => string) | undefined;
  /** Standing processes, which work beside the commands. */
  readonly pids: readonly number[];
  /** Where it keeps what it stores. */
  readonly directory: string | undefined;
}

export const NOTHING: Archiver = {
  name: "nothing",
  open: async () => ({
    push: "true",
    fetch: undefined,
    pids: [],
    directory: undefined,
    [Symbol.asyncDispose]: async () => {},
  }),
};

export const CP = copying("cp", (to) => `cp %p ${to}`);

/** What careful people write in the place of `cp`. */
export const CP_FSYNC = copying(
  "cp + fsync",
  (to) => `cp %p ${to}.tmp && sync ${to}.tmp && mv ${to}.tmp ${to} && sync $(dirname ${to})`,
);

export function pgbackrest(
  options: Pick<PgbackrestOptions, "compression" | "manner">,
): readonly Archiver[] {
  if (!hasPgbackrest()) return [];
  const { compression, manner } = options;
  const title = `pgbackrest ${compression}${manner === "async" ? " async" : ""}`;
  const open = async ({ workspace, postgres }: Backlog): Promise<OpenArchive> => {
    const name = freshName("pgbackrest");
    const repository = await Pgbackrest.create({ workspace, postgres, name, ...options });
    return {
      push: `${repository.base} archive-push %p`,
      fetch: (dataDirectory) => {
        return `${repository.base} --pg1-path=${dataDirectory} archive-get %f %p`;
      },
      pids: [],
      directory: join(repository.directory, "repo"),
      [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
    };
  };
  return [{ name: title, open }];
}

/** `host`: the daemon reads the segments itself; `socket` and `tcp`: they are sent. */
export function walarc(way: "host" | "socket" | "tcp"): Archiver {
  return { name: `walarc, ${TITLES[way]}`, open: (backlog) => openWalarc(backlog, way) };
}

const TITLES = { host: "on the host", socket: "unix socket", tcp: "TCP" };

async function openWalarc(backlog: Backlog, way: "host" | "socket" | "tcp"): Promise<OpenArchive> {
  const { workspace, installation, postgres, token } = backlog;
  const own = way === "host" ? `data_directory = "${postgres.dataDirectory}"\n` : "";
  const daemon = await WalarcDaemon.prepare({
    workspace,
    installation,
    name: freshName("walarc"),
    listen: "127.0.0.1:0",
    moreConfig: `[clusters.warm]
[clusters.bench]
${own}
${token.config}`,
  });
  await daemon.start();
  await warmUp(daemon);
  const server = way === "tcp" ? `${daemon.tcpUrl} ${token.option}` : `unix:${daemon.socketPath}`;
  const options = `--cluster bench --server ${server}`;
  return {
    push: `${installation.walarc} push ${options} %p`,
    fetch: () => `${installation.walarc} fetch ${options} %f %p`,
    pids: [daemon.pid],
    directory: join(daemon.storeDirectory, "clusters/bench/wal"),
    [Symbol.asyncDispose]: async () => {
      await daemon[Symbol.asyncDispose]();
      await rm(daemon.storeDirectory, { recursive: true, force: true });
    },
  };
}

/** A daemon of a minute's age has compiled what it runs; the first pushes cost several times more. */
export async function warmUp({ socketPath }: WalarcDaemon): Promise<void> {
  for (let number = 1; number <= 12; number += 1) {
    await pushWal(makeSegment({ number, content: "mixed" }), { socketPath, cluster: "warm" });
  }
}

function copying(name: string, command: (to: string) => string): Archiver {
  const open = async ({ workspace }: Backlog): Promise<OpenArchive> => {
    const directory = await workspace.makeDirectory(freshName("copies"));
    return {
      push: command(join(directory, "%f")),
      fetch: () => `cp ${join(directory, "%f")} %p`,
      pids: [],
      directory,
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
    };
  };
  return { name, open };
}

let names = 0;

function freshName(stem: string): string {
  return `${stem}-${(names += 1)}`;
}
