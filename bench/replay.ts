/** What a standby that is far behind needs to replay the archive, with each tool in turn. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { PostgresCluster } from "../test/support/postgres.ts";
import { type Archiver, CP, type OpenArchive, pgbackrest, walarc } from "./archivers.ts";
import type { Backlog } from "./backlog.ts";
import { CpuGroup } from "./cpu-group.ts";
import { median, timed } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

const REPLAY_MS_MAX = 600_000;
/** Without any restore_command: what the replay itself costs. */
const FLOOR = "segments already in pg_wal";

interface Sample {
  readonly wallMs: number;
  readonly cpuMs: number | undefined;
}

/**
 * Every round replays once with every tool, on a fresh copy of one base backup. Archives and copies
 * are read before the clock starts, so that all begin with the same page cache.
 */
export async function benchReplay(backlog: Backlog, options: { rounds: number }): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const ways: { name: string; archive: OpenArchive | undefined }[] = [
    { name: FLOOR, archive: undefined },
  ];
  const archivers: readonly Archiver[] = [
    CP,
    ...pgbackrest({ compression: "zst", manner: "async" }),
    ...pgbackrest({ compression: "zst", manner: "sync" }),
    walarc("socket"),
    walarc("tcp"),
  ];
  for (const archiver of archivers) {
    const archive = stack.use(await archiver.open(backlog));
    await backlog.archive(archive.push, { count: backlog.segments.length });
    ways.push({ name: archiver.name, archive });
  }
  const samples = new Map(ways.map(({ name }) => [name, new Array<Sample>()]));
  for (let round = 0; round < options.rounds; round += 1) {
    for (const { name, archive } of ways) {
      samples.get(name)!.push(await replayOnce(backlog, archive));
    }
  }
  const count = backlog.segments.length;
  const rows = [...samples].map(([name, taken]): Row => {
    const cpus = taken.map((sample) => sample.cpuMs).filter((ms) => ms !== undefined);
    const wallMs = median(taken.map((sample) => sample.wallMs));
    return {
      name,
      figures: {
        seconds: wallMs / 1000,
        "fastest s": Math.min(...taken.map((sample) => sample.wallMs)) / 1000,
        "slowest s": Math.max(...taken.map((sample) => sample.wallMs)) / 1000,
        "ms/segment": wallMs / count,
        "CPU ms/segment": cpus.length === 0 ? undefined : median(cpus) / count,
      },
    };
  });
  const title = `a standby replays ${count} segments of 16 MB`;
  printTable(`${title}, medians of ${options.rounds}`, rows, { ratioTo: "cp" });
}

async function replayOnce(backlog: Backlog, archive: OpenArchive | undefined): Promise<Sample> {
  const { workspace, programs, installation } = backlog;
  const dataDirectory = workspace.path("standby/data");
  const restore = archive?.fetch?.(dataDirectory) ?? "false";
  await using standby = await PostgresCluster.restore(backlog.baseBackup, {
    workspace,
    programs,
    name: "standby",
    env: installation.env,
    settings: { archive_mode: "off", fsync: "on", restore_command: restore },
  });
  await standby.becomeStandby();
  if (archive === undefined) await copySegments(backlog, standby);
  execFileSync("sync");
  const read = [dataDirectory, ...(archive?.directory === undefined ? [] : [archive.directory])];
  execFileSync("/bin/sh", ["-c", `cat $(find ${read.join(" ")} -type f) > /dev/null`]);
  using group = CpuGroup.open();
  const { wallMs } = await timed(async () => {
    standby.launch();
    await standby.eventually("it has begun", () => {
      const pid = Number.parseInt(readFileSync(join(dataDirectory, "postmaster.pid"), "utf8"));
      if (pid > 0) group?.add(pid);
      return pid > 0;
    });
    for (const pid of archive?.pids ?? []) group?.add(pid);
    await standby.replayed(backlog.endLsn, REPLAY_MS_MAX);
  });
  const cpuMs = group?.cpuMs;
  await standby[Symbol.asyncDispose]();
  await rm(workspace.path("standby"), { recursive: true, force: true });
  return { wallMs, cpuMs };
}

async function copySegments(backlog: Backlog, standby: PostgresCluster): Promise<void> {
  for (const name of backlog.segments) {
    await cp(join(backlog.postgres.walDirectory, name), join(standby.walDirectory, name));
  }
  const { uid, gid } = backlog.workspace.account;
  if (process.getuid?.() === 0) {
    execFileSync("chown", ["-R", `${uid}:${gid}`, standby.walDirectory]);
  }
}
