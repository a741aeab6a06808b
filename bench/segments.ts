/** One push and one fetch at a time, and many at once, beside cp and pgBackRest. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  median,
  peakMemory,
  type Sample,
  Standing,
  timeCommand,
  timed,
  treeBytes,
} from "./measure.ts";
import type { Stage } from "./stage.ts";
import { printTable, type Row } from "./table.ts";

interface Tool {
  readonly name: string;
  /** Shell command for one segment. */
  readonly command: (segment: string) => string;
  /** CPU of its standing process, and restart of the count. */
  readonly standing?: Standing;
}

/** Each round runs every tool once, so a noisy minute hits all of them alike. */
async function measureRounds(stage: Stage, tools: readonly Tool[]): Promise<Row[]> {
  const samples = new Map<string, Sample[]>(tools.map((tool) => [tool.name, []]));
  const standingMs = new Map<string, number>();
  for (const segment of stage.segments) {
    for (const tool of tools) {
      tool.standing?.restart();
      samples.get(tool.name)!.push(await timeCommand(tool.command(segment), stage.surroundings));
      const ms = tool.standing?.cpuMs ?? 0;
      standingMs.set(tool.name, (standingMs.get(tool.name) ?? 0) + ms);
    }
  }
  return tools.map((tool) => {
    const taken = samples.get(tool.name)!;
    const clientCpu = median(taken.map((sample) => sample.cpuMs));
    const daemonCpu = standingMs.get(tool.name)! / taken.length;
    return {
      name: tool.name,
      figures: {
        "wall ms": median(taken.map((sample) => sample.wallMs)),
        "command CPU ms": clientCpu,
        "daemon CPU ms": tool.standing === undefined ? undefined : daemonCpu,
        "CPU ms": clientCpu + daemonCpu,
      },
    };
  });
}

const SYNC_COPY = (from: string, to: string) =>
  `cp ${from} ${to}.tmp && sync ${to}.tmp && mv ${to}.tmp ${to} && sync "$(dirname ${to})"`;

/** Returns the archive directories for the fetches. */
export async function benchPush(stage: Stage): Promise<void> {
  const { walDirectory, installation, daemon } = stage;
  const plain = await stage.directory("cp");
  const synced = await stage.directory("cp-fsync");
  const from = (segment: string) => join(walDirectory, segment);
  const tools: Tool[] = [
    { name: "nothing (sh -c true)", command: () => "true" },
    { name: "cp", command: (segment) => `cp ${from(segment)} ${join(plain, segment)}` },
    { name: "cp + fsync", command: (segment) => SYNC_COPY(from(segment), join(synced, segment)) },
    ...(await stage.pgbackrest()).map((tool) => ({
      name: tool.name,
      command: (segment: string) => `${tool.push} ${from(segment)}`,
    })),
    {
      name: "walarc",
      command: (segment) => `${installation.walarc} push ${from(segment)}`,
      standing: new Standing(daemon.pid),
    },
    {
      name: "walarc on the host",
      command: (segment) =>
        `cd ${stage.hostDirectory} && ${installation.walarc} push --server ${stage.localDaemon.url} pg_wal/${segment}`,
      standing: new Standing(stage.localDaemon.pid),
    },
    {
      name: "walarc over TCP",
      command: (segment) =>
        `${installation.walarc} push --server ${daemon.tcpUrl} --token-file ${stage.workspace.path("token")} --cluster tcp ${from(segment)}`,
      standing: new Standing(daemon.pid),
    },
  ];
  printTable(
    `push of one 16 MB segment, medians of ${stage.segments.length}`,
    await measureRounds(stage, tools),
    {
      ratioTo: "walarc",
    },
  );
  const clientMb = await peakMemory(
    `${installation.walarc} push ${from(stage.segments[0]!)}`,
    stage.surroundings,
  );
  process.stdout.write(`peak memory of the push command: ${clientMb.toFixed(0)} MB\n`);
  await printStored(stage, { cp: plain, walarc: daemon.storeDirectory });
}

async function printStored(stage: Stage, places: Record<string, string>): Promise<void> {
  const rows: Row[] = [];
  for (const [name, directory] of Object.entries(places)) {
    rows.push({ name, figures: { "MB stored": (await treeBytes(directory)) / 2 ** 20 } });
  }
  for (const compression of ["lz4", "zst"]) {
    const directory = stage.workspace.path(`pgbackrest-${compression}`);
    const bytes = await treeBytes(directory).catch(() => 0);
    if (bytes > 0)
      rows.push({ name: `pgbackrest ${compression}`, figures: { "MB stored": bytes / 2 ** 20 } });
  }
  printTable(`stored size of ${stage.segments.length} segments (walarc: two clusters)`, rows);
}

export async function benchFetch(stage: Stage): Promise<void> {
  const { installation, daemon } = stage;
  const target = join(await stage.directory("restored"), "RECOVERYXLOG");
  const plain = stage.workspace.path("cp");
  const pgbackrest = ["lz4", "zst"].flatMap((compression) => {
    const config = stage.workspace.path(`pgbackrest-${compression}`, "conf");
    const base = `/usr/bin/pgbackrest --config=${config} --stanza=bench archive-get`;
    return { name: `pgbackrest ${compression}`, compression, base };
  });
  const installed = new Set(
    (await readdir(stage.workspace.directory)).filter((n) => n.startsWith("pgbackrest")),
  );
  const tools: Tool[] = [
    { name: "cp", command: (segment) => `cp ${join(plain, segment)} ${target}` },
    ...pgbackrest
      .filter((tool) => installed.has(`pgbackrest-${tool.compression}`))
      .map((tool) => ({
        name: tool.name,
        command: (segment: string) => `${tool.base} ${segment} ${target}`,
      })),
    {
      name: "walarc",
      command: (segment) => `${installation.walarc} fetch ${segment} ${target}`,
      standing: new Standing(daemon.pid),
    },
  ];
  printTable(
    `fetch of one 16 MB segment, medians of ${stage.segments.length}`,
    await measureRounds(stage, tools),
    {
      ratioTo: "walarc",
    },
  );
  await rm(target, { force: true });
}

/** All segments, by so many commands at once. */
export async function benchConcurrency(stage: Stage): Promise<void> {
  const { installation, daemon } = stage;
  const rows: Row[] = [];
  const standing = new Standing(daemon.pid);
  for (const clients of [1, 4, 16, 64]) {
    const jobs = Array.from({ length: Math.max(64, stage.segments.length) }, (_, index) => ({
      segment: stage.segments[index % stage.segments.length]!,
      // Every job pushes into a place where its segment is new.
      cluster: `c${clients}-${Math.floor(index / stage.segments.length)}`,
    }));
    standing.restart();
    const { wallMs } = await timed(async () => {
      const worker = async () => {
        for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
          const file = join(stage.walDirectory, job.segment);
          const command = `${installation.walarc} push --cluster ${job.cluster} ${file}`;
          await timeCommand(command, stage.surroundings);
        }
      };
      await Promise.all(Array.from({ length: clients }, worker));
    });
    const count = Math.max(64, stage.segments.length);
    rows.push({
      name: `${clients} clients`,
      figures: {
        "segments/s": (count / wallMs) * 1000,
        "daemon CPU ms/segment": standing.cpuMs / count,
        "daemon peak MB": standing.peakMb,
      },
    });
  }
  printTable("pushes at once over the unix socket", rows);
}
