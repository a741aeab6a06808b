/** One push and one fetch at a time, and many at once, beside cp and pgBackRest. */
import { rm } from "node:fs/promises";
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
import type { Pgbackrest } from "./pgbackrest.ts";
import type { Stage } from "./stage.ts";
import { printTable, type Row } from "./table.ts";

export interface Tool {
  readonly name: string;
  /** Shell command for one segment. */
  readonly command: (segment: string) => string;
  /** CPU of its standing process, and restart of the count. */
  readonly standing?: Standing;
}

/** Each round runs every tool once, so a noisy minute hits all of them alike. */
export async function measureRounds(
  stage: Pick<Stage, "segments" | "surroundings">,
  tools: readonly Tool[],
): Promise<Row[]> {
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

export async function benchSegments(stage: Stage): Promise<void> {
  const plain = await stage.directory("cp");
  const pgbackrest = await stage.pgbackrest();
  await benchPush(stage, { plain, pgbackrest });
  await benchFetch(stage, { plain, pgbackrest });
  await benchConcurrency(stage);
}

interface Others {
  /** Where `cp` copies to. */
  readonly plain: string;
  readonly pgbackrest: readonly { name: string; repository: Pgbackrest }[];
}

async function benchPush(stage: Stage, { plain, pgbackrest }: Others): Promise<void> {
  const { walDirectory, daemon, localDaemon } = stage;
  const { installation, token } = stage.backlog;
  const synced = await stage.directory("cp-fsync");
  const from = (segment: string) => join(walDirectory, segment);
  const walarc = `${installation.walarc} push`;
  const tools: Tool[] = [
    { name: "nothing (sh -c true)", command: () => "true" },
    { name: "cp", command: (segment) => `cp ${from(segment)} ${join(plain, segment)}` },
    { name: "cp + fsync", command: (segment) => SYNC_COPY(from(segment), join(synced, segment)) },
    ...pgbackrest.map(({ name, repository }) => ({
      name,
      command: (segment: string) => `${repository.base} archive-push ${from(segment)}`,
    })),
    {
      name: "walarc",
      command: (segment) => `${walarc} ${from(segment)}`,
      standing: new Standing(daemon.pid),
    },
    {
      name: "walarc on the host",
      command: (segment) => `${walarc} --server ${localDaemon.url} pg_wal/${segment}`,
      standing: new Standing(localDaemon.pid),
    },
    {
      name: "walarc over TCP",
      command: (segment) =>
        `${walarc} --server ${daemon.tcpUrl} ${token.option} --cluster tcp ${from(segment)}`,
      standing: new Standing(daemon.pid),
    },
  ];
  const title = `push of one 16 MB segment, medians of ${stage.segments.length}`;
  printTable(title, await measureRounds(stage, tools), { ratioTo: "pgbackrest zst" });
  const clientMb = await peakMemory(`${walarc} ${from(stage.segments[0]!)}`, stage.surroundings);
  process.stdout.write(`peak memory of the push command: ${clientMb.toFixed(0)} MB\n`);
  const places = {
    cp: plain,
    ...Object.fromEntries(
      pgbackrest.map(({ name, repository }) => [name, join(repository.directory, "repo")]),
    ),
    walarc: join(localDaemon.storeDirectory, "clusters/bench/wal"),
  };
  await printStored(stage, places);
}

async function printStored(stage: Stage, places: Record<string, string>): Promise<void> {
  const rows: Row[] = [];
  for (const [name, directory] of Object.entries(places)) {
    rows.push({ name, figures: { "MB stored": (await treeBytes(directory)) / 2 ** 20 } });
  }
  const title = `stored size of ${stage.segments.length} segments`;
  printTable(title, rows, { ratioTo: "pgbackrest zst" });
}

async function benchFetch(stage: Stage, { plain, pgbackrest }: Others): Promise<void> {
  const { daemon } = stage;
  const { installation, token } = stage.backlog;
  // Not a name that a recovery asks for: one fetch is measured here, without those to come.
  const target = join(await stage.directory("restored"), "segment");
  const walarc = `${installation.walarc} fetch`;
  const standing = new Standing(daemon.pid);
  const tools: Tool[] = [
    { name: "cp", command: (segment) => `cp ${join(plain, segment)} ${target}` },
    ...pgbackrest.map(({ name, repository }) => ({
      name,
      command: (segment: string) => `${repository.base} archive-get ${segment} ${target}`,
    })),
    { name: "walarc", command: (segment) => `${walarc} ${segment} ${target}`, standing },
    {
      name: "walarc over TCP",
      command: (segment) =>
        `${walarc} --server ${daemon.tcpUrl} ${token.option} ${segment} ${target}`,
      standing,
    },
  ];
  const title = `fetch of one 16 MB segment, medians of ${stage.segments.length}`;
  printTable(title, await measureRounds(stage, tools), { ratioTo: "pgbackrest zst" });
  await rm(target, { force: true });
}

/** All segments, by so many commands at once. */
async function benchConcurrency(stage: Stage): Promise<void> {
  const { daemon } = stage;
  const { installation } = stage.backlog;
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
