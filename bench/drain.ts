/** A backlog of real segments, drained by PostgreSQL's own archiver with each tool in turn. */
import { execFileSync } from "node:child_process";
import { type Archiver, CP, CP_FSYNC, NOTHING, pgbackrest, walarc } from "./archivers.ts";
import type { Backlog } from "./backlog.ts";
import { CpuGroup } from "./cpu-group.ts";
import { median, treeBytes } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

const BASE = "pgbackrest lz4 async";

interface Sample {
  readonly wallMs: number;
  readonly cpuMs: number | undefined;
  readonly storedBytes: number | undefined;
}

/** Every round runs every tool once, each on an archive of its own, with the same page cache. */
export async function benchDrain(
  backlog: Backlog,
  options: { segments: number; rounds: number },
): Promise<void> {
  const archivers = [
    NOTHING,
    CP,
    CP_FSYNC,
    ...pgbackrest({ compression: "lz4", manner: "async" }),
    ...pgbackrest({ compression: "zst", manner: "async" }),
    ...pgbackrest({ compression: "lz4", manner: "sync" }),
    ...pgbackrest({ compression: "zst", manner: "sync" }),
    walarc("host"),
    walarc("socket"),
    walarc("tcp"),
  ];
  const samples = new Map(archivers.map(({ name }) => [name, new Array<Sample>()]));
  for (let round = 0; round < options.rounds; round += 1) {
    for (const archiver of archivers) {
      samples.get(archiver.name)!.push(await drainOnce(backlog, archiver, options.segments));
    }
  }
  const rows = [...samples].map(([name, taken]) => rowOf(name, taken, options.segments));
  const title = `${options.segments} real segments of 16 MB drained by PostgreSQL's archiver`;
  printTable(`${title}, medians of ${options.rounds}`, rows, { ratioTo: BASE });
}

async function drainOnce(backlog: Backlog, archiver: Archiver, count: number): Promise<Sample> {
  await using archive = await archiver.open(backlog);
  using group = CpuGroup.open();
  execFileSync("sync");
  for (const pid of [backlog.pid, ...archive.pids]) group?.add(pid);
  const wallMs = await backlog.archive(archive.push, { count });
  const cpuMs = group?.cpuMs;
  const { directory } = archive;
  const storedBytes = directory === undefined ? undefined : await treeBytes(directory);
  return { wallMs, cpuMs, storedBytes };
}

function rowOf(name: string, samples: readonly Sample[], count: number): Row {
  const wallMs = median(samples.map((sample) => sample.wallMs));
  const cpus = samples.map((sample) => sample.cpuMs).filter((ms) => ms !== undefined);
  const sizes = samples.map((sample) => sample.storedBytes).filter((bytes) => bytes !== undefined);
  return {
    name,
    figures: {
      seconds: wallMs / 1000,
      "segments/s": (count / wallMs) * 1000,
      "slowest s": Math.max(...samples.map((sample) => sample.wallMs)) / 1000,
      // Of the server, the commands and what stands or is left running beside them.
      "CPU ms/segment": cpus.length === 0 ? undefined : median(cpus) / count,
      "MB stored": sizes.length === 0 ? undefined : median(sizes) / 2 ** 20,
    },
  };
}
