/** What a plan over a million segments costs, and a prune of them, beside pg_archivecleanup. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Catalog } from "../src/wal/catalog.ts";
import { type PlacedName, requireWalName } from "../src/wal/name.ts";
import { planRetention, removableFiles, removableNames } from "../src/wal/retention.ts";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { installWalarc } from "../test/support/installation.ts";
import { findPostgres } from "../test/support/postgres-programs.ts";
import { segmentNameOf } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { median, type Surroundings, Standing, timeCommand, timed } from "./measure.ts";
import { fillStore } from "./scale.ts";
import { printTable, type Row } from "./table.ts";

const CLAIMS = 100;
/** Of the newest segments, which stay. */
const KEPT = 16;
const REPEATS = 5;
/** Removing more takes minutes, and no longer per file. */
const PRUNED_MAX = 100_000;
const SIZES = [1_000, 100_000, 1_000_000];
const CLUSTER = "/v1/clusters/bench";

/** Everything but the newest segments is planned, listed and removed. Returns one row a size. */
export async function benchRetention(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const segments of SIZES) {
    await using workspace = await Workspace.create();
    const surroundings = {
      account: workspace.account,
      cwd: workspace.directory,
      env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
    };
    const row = { name: `${segments} segments` };
    const cleanup = await measureCleanup(segments, workspace, surroundings);
    const daemon = await measureDaemon(segments, workspace);
    rows.push({ ...row, figures: { ...measurePlan(segments), ...daemon, ...cleanup } });
  }
  printTable(`a plan with ${CLAIMS} claims, and a prune; wall time in ms`, rows);
  return rows;
}

/** The decision alone. Memory: of the plan and of going through its names. */
function measurePlan(segments: number): Record<string, number> {
  const catalog = new Catalog();
  catalog.bindSegmentSize(16 * 2 ** 20);
  for (let number = 1; number <= segments; number += 1) {
    catalog.add(requireWalName(segmentNameOf({ number })));
  }
  const claims = Array.from({ length: CLAIMS }, (_, index) => {
    const from = requireWalName(restartPointOf(index, segments)) as PlacedName;
    return { kind: "standby" as const, name: `s${index}`, from };
  });
  const before = process.memoryUsage().heapUsed;
  const times: number[] = [];
  let files = 0;
  for (let turn = 0; turn < REPEATS; turn += 1) {
    const start = performance.now();
    files = removableFiles(planRetention(catalog, claims));
    times.push(performance.now() - start);
  }
  if (files !== segments - KEPT) throw new Error(`${files} files planned`);
  const grownKb = (process.memoryUsage().heapUsed - before) / 1024;
  const plan = planRetention(catalog, claims);
  const start = performance.now();
  const names = removableNames(plan).reduce((count) => count + 1, 0);
  if (names !== files) throw new Error(`${names} names`);
  return {
    plan: median(times),
    "plan KB": Math.max(0, grownKb),
    "all names": performance.now() - start,
  };
}

/** `walarc prune --dry-run` and the real one against a daemon with the claims in its store. */
async function measureDaemon(
  segments: number,
  workspace: Workspace,
): Promise<Record<string, number | undefined>> {
  const installation = await installWalarc(workspace);
  const storeDirectory = workspace.path("store");
  await fillStore(storeDirectory, segments);
  const { uid, gid } = workspace.account;
  if (process.getuid?.() === 0) execFileSync("chown", ["-R", `${uid}:${gid}`, storeDirectory]);
  const moreConfig = '[clusters.bench.retention]\ninterval = "1d"\nkeep_backups = 0\n';
  const options = { workspace, installation, storeDirectory, moreConfig };
  await using daemon = await WalarcDaemon.prepare(options);
  await daemon.start();
  for (let index = 0; index < CLAIMS; index += 1) {
    const restartPoint = restartPointOf(index, segments);
    await ask(daemon, "PUT", `/standbys/s${index}`, { restartPoint });
  }
  const standing = new Standing(daemon.pid);
  const beforeMb = standing.peakMb;
  const plans: number[] = [];
  for (let turn = 0; turn < REPEATS; turn += 1) {
    const dry = { dryRun: true, names: false };
    plans.push((await timed(() => ask(daemon, "POST", "/prune", dry))).wallMs);
  }
  const server = `WALARC_SERVER=${daemon.url} WALARC_CLUSTER=bench`;
  const command = `${server} ${installation.walarc} prune --dry-run`;
  const surroundings = {
    account: workspace.account,
    cwd: workspace.directory,
    env: installation.env,
  };
  const dryRuns = await repeat(() => timeCommand(command, surroundings));
  const listing = await timeCommand(`${command} --json > /dev/null`, surroundings);
  const plannedMb = standing.peakMb - beforeMb;
  const isSoonDone = segments <= PRUNED_MAX;
  const prune = isSoonDone
    ? await timed(() => ask(daemon, "POST", "/prune", { names: false }))
    : undefined;
  return {
    "daemon's plan": median(plans),
    "prune --dry-run": dryRuns,
    "with --json": listing.wallMs,
    "daemon grew MB": plannedMb,
    prune: prune?.wallMs,
  };
}

async function measureCleanup(
  segments: number,
  workspace: Workspace,
  surroundings: Surroundings,
): Promise<Record<string, number>> {
  const postgres = findPostgres();
  if ("missing" in postgres) return {};
  const directory = await workspace.makeDirectory("plain");
  for (let number = 1; number <= segments; number += 1) {
    closeSync(openSync(join(directory, segmentNameOf({ number })), "w"));
  }
  const oldestKept = segmentNameOf({ number: segments - KEPT + 1 });
  const program = `${postgres.bin}/pg_archivecleanup`;
  const dry = `${program} -n ${directory} ${oldestKept} > /dev/null`;
  const dryMs = await repeat(() => timeCommand(dry, surroundings));
  const real = await timeCommand(`${program} ${directory} ${oldestKept}`, surroundings);
  return { "pg_archivecleanup -n": dryMs, pg_archivecleanup: real.wallMs };
}

async function repeat(once: () => Promise<{ wallMs: number }>): Promise<number> {
  const times: number[] = [];
  for (let turn = 0; turn < REPEATS; turn += 1) times.push((await once()).wallMs);
  return median(times);
}

/** The first needs the least; the others are spread over what is kept. */
function restartPointOf(index: number, segments: number): string {
  return segmentNameOf({ number: segments - KEPT + 1 + (index % KEPT) });
}

async function ask(daemon: WalarcDaemon, method: string, path: string, content: object) {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const where = { socketPath: daemon.socketPath, method, path: CLUSTER + path, agent: false };
  const asked = request(where, (answer) => {
    answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
  });
  asked.once("error", reject).end(JSON.stringify(content));
  const status = await promise;
  if (status !== 200) throw new Error(`${method} ${path} answered ${status}`);
}

if (import.meta.main) await benchRetention();
