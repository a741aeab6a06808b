/** A backlog drained from a spool, beside a shell that copies and syncs; and what idling costs. */
import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { installWalarc } from "../test/support/installation.ts";
import { type SegmentWish, writeSegmentFile } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { Standing, timeCommand, timed } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

const MIB = 1024 * 1024;
const IDLE_SECONDS = 30;

interface Backlog {
  readonly title: string;
  readonly files: number;
  readonly wish: Pick<SegmentWish, "segmentSizeBytes" | "content">;
}

const BACKLOGS: readonly Backlog[] = [
  { title: "16 MB segments", files: 96, wish: { segmentSizeBytes: 16 * MIB, content: "mixed" } },
  { title: "1 MB segments", files: 1000, wish: { segmentSizeBytes: MIB, content: "mixed" } },
  {
    title: "switched 1 MB segments",
    files: 2000,
    wish: { segmentSizeBytes: MIB, content: "sparse" },
  },
];

/** What careful people have in the place of `cp`. */
const COPY_ALL = (from: string, to: string) =>
  `for f in ${from}/*; do n=\${f##*/}; cp $f ${to}/$n.tmp && sync ${to}/$n.tmp && mv ${to}/$n.tmp ${to}/$n && sync ${to} || exit 1; done`;

export async function benchSpool(): Promise<void> {
  for (const backlog of BACKLOGS) await benchBacklog(backlog);
  await benchIdle();
}

async function benchBacklog({ title, files, wish }: Backlog): Promise<void> {
  await using workspace = await Workspace.create();
  const spool = directoryFor(workspace, "spool");
  for (let number = 1; number <= files; number += 1) writeSegmentFile(spool, { ...wish, number });
  give(workspace, spool);
  execFileSync("sync");
  const copies = directoryFor(workspace, "copies");
  const env = { PATH: "/usr/bin:/bin" };
  const surroundings = { account: workspace.account, cwd: workspace.directory, env };
  const shell = await timeCommand(COPY_ALL(spool, copies), surroundings);
  await using daemon = await daemonOf(workspace, spool);
  const { wallMs } = await timed(async () => {
    await daemon.start();
    while (readdirSync(spool).length > 1) await delay(20);
  });
  const standing = new Standing(daemon.pid);
  const bytes = files * (wish.segmentSizeBytes ?? 0);
  const rowOf = (name: string, ms: number, cpuMs: number): Row => ({
    name,
    figures: {
      "files/s": (files / ms) * 1000,
      "MB/s": (bytes / MIB / ms) * 1000,
      "CPU ms/file": cpuMs / files,
    },
  });
  const cpuMs = standing.totalCpuMs;
  const rows = [rowOf("cp + fsync", shell.wallMs, shell.cpuMs), rowOf("spool", wallMs, cpuMs)];
  const peak = `daemon's peak memory: ${standing.peakMb.toFixed(0)} MB`;
  printTable(`${files} ${title} through a spool, start and settling included; ${peak}`, rows, {
    ratioTo: "cp + fsync",
  });
}

async function benchIdle(): Promise<void> {
  await using workspace = await Workspace.create();
  const rows: Row[] = [];
  for (const isWatched of ["without a spool", "with a spool"]) {
    const name = isWatched.replaceAll(" ", "-");
    const spool = directoryFor(workspace, `spool-${name}`);
    const watched = isWatched === "with a spool" ? spool : undefined;
    await using daemon = await daemonOf(workspace, watched, name);
    await daemon.start();
    await delay(5000);
    const standing = new Standing(daemon.pid);
    const { wallMs } = await timed(() => delay(IDLE_SECONDS * 1000));
    rows.push({ name: isWatched, figures: { "% of a core": (standing.cpuMs / wallMs) * 100 } });
  }
  printTable(`an idle daemon for ${IDLE_SECONDS} s`, rows);
}

async function daemonOf(
  workspace: Workspace,
  spool: string | undefined,
  name = "walarc",
): Promise<WalarcDaemon> {
  const installation = await installWalarc(workspace).catch(async () => ({
    walarc: workspace.path("product/bin/walarc"),
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" },
  }));
  const moreConfig = spool === undefined ? "" : `[[spool]]\npath = "${spool}"\ncluster = "main"\n`;
  return WalarcDaemon.prepare({ workspace, installation, moreConfig, name });
}

function directoryFor(workspace: Workspace, name: string): string {
  const path = join(workspace.directory, name);
  mkdirSync(path, { mode: 0o700 });
  give(workspace, path);
  return path;
}

function give({ account }: Workspace, path: string): void {
  if (process.getuid?.() !== 0) return;
  chownSync(path, account.uid, account.gid);
  for (const name of readdirSync(path)) chownSync(join(path, name), account.uid, account.gid);
}
