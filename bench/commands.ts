/** What a command costs whose work was done ahead of it: PostgreSQL waits for nothing else. */
import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseWalName, type PlacedName } from "../src/wal/name.ts";
import { segmentName, segmentNumber } from "../src/wal/segment.ts";
import { type Archiver, CP, pgbackrest, walarc } from "./archivers.ts";
import type { Backlog } from "./backlog.ts";
import { median, type Sample, type Surroundings, timeCommand } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

/** So long PostgreSQL takes to replay a segment of pgbench, and to write one under load. */
const PAUSE_MS = 60;
/** The first calls begin what the others profit from. */
const FIRST_CALLS = 4;
const SEGMENT_BYTES = 16 * 1024 * 1024;

export async function benchCommands(
  backlog: Backlog,
  options: { segments: number },
): Promise<void> {
  const asynchronous = pgbackrest({ compression: "zst", manner: "async" });
  const pushers = [...asynchronous, walarc("host"), walarc("tcp")];
  const fetchers = [CP, ...asynchronous, walarc("socket"), walarc("tcp")];
  const names = backlog.segments.slice(-options.segments);
  const pushes: Row[] = [];
  for (const archiver of pushers) pushes.push(await pushAll(backlog, archiver, names));
  const what = `medians of ${names.length}, one every ${PAUSE_MS} ms`;
  printTable(`a push of one of many ready segments, ${what}`, pushes);
  const fetches: Row[] = [];
  for (const archiver of fetchers) fetches.push(...(await fetchAll(backlog, archiver, names)));
  printTable(`a fetch in a recovery, ${what}`, fetches);
}

/** Calls the command as the archiver would: in order, and with its status files. */
async function pushAll(
  backlog: Backlog,
  archiver: Archiver,
  names: readonly string[],
): Promise<Row> {
  await using archive = await archiver.open(backlog);
  const { dataDirectory, walDirectory } = backlog.postgres;
  const status = (name: string, state: string) =>
    join(walDirectory, "archive_status", `${name}.${state}`);
  for (const name of names) await rename(status(name, "done"), status(name, "ready"));
  const samples: Sample[] = [];
  for (const name of names) {
    const command = commandOf(archive.push, { name, path: `pg_wal/${name}` });
    samples.push(await timeCommand(command, surroundingsOf(backlog, dataDirectory)));
    await rename(status(name, "ready"), status(name, "done"));
    await delay(PAUSE_MS);
  }
  return rowOf(archiver.name, samples);
}

/** A recovery that asks for one segment after the other, and at the end for one that is not there. */
async function fetchAll(
  backlog: Backlog,
  archiver: Archiver,
  names: readonly string[],
): Promise<Row[]> {
  await using archive = await archiver.open(backlog);
  await backlog.archive(archive.push, { count: names.length });
  const directory = await recoveringDirectory(backlog);
  const surroundings = surroundingsOf(backlog, directory);
  const template = archive.fetch?.(directory) ?? "false";
  const path = "pg_wal/RECOVERYXLOG";
  const samples: Sample[] = [];
  for (const name of names) {
    samples.push(await timeCommand(commandOf(template, { name, path }), surroundings));
    // As KeepFileRestoredFromArchive (xlogarchive.c) does.
    await rename(join(directory, path), join(directory, "pg_wal", name));
    await delay(PAUSE_MS);
  }
  const missing = commandOf(template, { name: nameAfter(names.at(-1)!), path });
  const misses: Sample[] = [];
  for (const _ of names) {
    misses.push(await timeCommand(missing, { ...surroundings, status: 1 }));
    await delay(PAUSE_MS);
  }
  await rm(directory, { recursive: true });
  return [rowOf(archiver.name, samples), rowOf(`${archiver.name}: missing`, misses)];
}

/** The next segment of 16 MB. */
function nameAfter(name: string): string {
  const number = segmentNumber(parseWalName(name) as PlacedName, SEGMENT_BYTES)!;
  return segmentName(1, number + 1, SEGMENT_BYTES);
}

/** A data directory as far as a restore_command looks at it. */
async function recoveringDirectory({ workspace, postgres, pid }: Backlog): Promise<string> {
  const directory = await workspace.makeDirectory("recovering");
  await workspace.makeDirectory("recovering/global");
  await workspace.makeDirectory("recovering/pg_wal");
  const controlFile = await readFile(join(postgres.dataDirectory, "global/pg_control"));
  await workspace.writeFile(join(directory, "global/pg_control"), controlFile);
  await workspace.writeFile(join(directory, "recovery.signal"), "");
  // Nothing is prepared for a server that does not run.
  await workspace.writeFile(join(directory, "postmaster.pid"), `${pid}\n`);
  return directory;
}

/** As PostgreSQL puts a command together. */
function commandOf(template: string, { name, path }: { name: string; path: string }): string {
  return template.replaceAll("%f", name).replaceAll("%p", path);
}

function surroundingsOf({ workspace, installation }: Backlog, cwd: string): Surroundings {
  return { account: workspace.account, cwd, env: installation.env };
}

function rowOf(name: string, samples: readonly Sample[]): Row {
  const usual = samples.slice(FIRST_CALLS);
  const walls = usual.map(({ wallMs }) => wallMs).sort((a, b) => a - b);
  return {
    name,
    figures: {
      "wall ms": median(walls),
      "90 % ms": walls[Math.floor(walls.length * 0.9)],
      "command CPU ms": median(usual.map(({ cpuMs }) => cpuMs)),
      "first wall ms": samples[0]?.wallMs,
    },
  };
}
