/** Status and "absent" on an archive of ten and of a million segments. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { installWalarc } from "../test/support/installation.ts";
import { pushWal } from "../test/support/wal-http.ts";
import { makeSegment, segmentNameOf } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { median, type Sample, Standing, timed } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

const SIZES = [10, 1_000_000];
const ASKED = 200;
const PUSHED = 30;
/** A daemon's first pushes cost several times more than later ones. */
const WARM_UP = 12;

/** Empty objects: status and misses are answered from names, and a million whole ones would be 2 TB. */
export async function fillStore(directory: string, segments: number): Promise<void> {
  await mkdir(join(directory, "clusters/bench"), { recursive: true });
  const binding = {
    systemIdentifier: "7312345678901234567",
    segmentSizeBytes: 16 * 2 ** 20,
    postgresMajor: 15,
  };
  await writeFile(join(directory, "walarc.json"), JSON.stringify({ format: 1 }));
  await writeFile(join(directory, "clusters/bench/cluster.json"), JSON.stringify(binding));
  for (let number = 1; number <= segments; number += 1) {
    const name = segmentNameOf({ number });
    const log = join(directory, "clusters/bench/wal/00000001", name.slice(8, 16));
    if (number === 1 || number % 256 === 0) await mkdir(log, { recursive: true });
    closeSync(openSync(join(log, name), "w"));
  }
}

async function writeFile(path: string, text: string): Promise<void> {
  await using file = await open(path, "w");
  await file.writeFile(text);
}

/** Both archives are served at the same time, and asked in turn. */
export async function benchScale(): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const archives: { segments: number; startMs: number; daemon: WalarcDaemon }[] = [];
  for (const segments of SIZES) {
    const workspace = stack.use(await Workspace.create());
    const installation = await installWalarc(workspace);
    const storeDirectory = workspace.path("store");
    await fillStore(storeDirectory, segments);
    const { uid, gid } = workspace.account;
    if (process.getuid?.() === 0) execFileSync("chown", ["-R", `${uid}:${gid}`, storeDirectory]);
    const daemon = await WalarcDaemon.prepare({ workspace, installation, storeDirectory });
    stack.use(daemon);
    const { wallMs: startMs } = await timed(() => daemon.start());
    archives.push({ segments, startMs, daemon });
  }
  for (const { daemon } of archives) await counted(daemon);
  const pushes = await pushInTurn(archives);
  const rows: Row[] = [];
  for (const [index, { segments, startMs, daemon }] of archives.entries()) {
    const miss = segmentNameOf({ number: segments + 500 });
    rows.push({
      name: `${segments} segments`,
      figures: {
        "start ms": startMs,
        "push ms": median(pushes[index]!.map(({ wallMs }) => wallMs)),
        "push CPU ms": median(pushes[index]!.map(({ cpuMs }) => cpuMs)),
        "status ms": await askMany(daemon, "/v1/clusters/bench", 200),
        "absent ms": await askMany(daemon, `/v1/clusters/bench/wal/${miss}`, 404),
        "daemon peak MB": new Standing(daemon.pid).peakMb,
      },
    });
  }
  printTable(`answers of the daemon, medians of ${ASKED}`, rows, { ratioTo: "10 segments" });
}

/** Of each archive, what pushing its next segments costs. */
async function pushInTurn(
  archives: readonly { segments: number; daemon: WalarcDaemon }[],
): Promise<Sample[][]> {
  const samples = archives.map(() => new Array<Sample>());
  for (let turn = 1; turn <= WARM_UP + PUSHED; turn += 1) {
    for (const [index, { segments, daemon }] of archives.entries()) {
      const file = makeSegment({ number: segments + turn, content: "mixed" });
      const standing = new Standing(daemon.pid);
      const { socketPath } = daemon;
      const { value, wallMs } = await timed(() => pushWal(file, { socketPath, cluster: "bench" }));
      if (value.status !== 201) throw new Error(`a push was answered ${value.status}`);
      if (turn > WARM_UP) samples[index]!.push({ wallMs, cpuMs: standing.cpuMs });
    }
  }
  return samples;
}

/** Resolves when the daemon has counted what it stores, which takes a minute for a million. */
async function counted(daemon: WalarcDaemon): Promise<void> {
  const isCounting = async () => {
    const { body } = await daemon.get("/v1/clusters/bench");
    return (JSON.parse(body.toString()) as { stored: { counting?: true } }).stored.counting;
  };
  while ((await isCounting()) === true) await delay(1000);
}

async function askMany(daemon: WalarcDaemon, path: string, status: number): Promise<number> {
  const times: number[] = [];
  for (let asked = 0; asked < ASKED; asked += 1) {
    const { value, wallMs } = await timed(() => daemon.get(path));
    if (value.status !== status) throw new Error(`${path} answered ${value.status}`);
    times.push(wallMs);
  }
  return median(times);
}
