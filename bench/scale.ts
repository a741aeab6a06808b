/** Status and "absent" on an archive of ten and of a million segments. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { installWalarc } from "../test/support/installation.ts";
import { segmentNameOf } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { median, Standing, timed } from "./measure.ts";
import { printTable, type Row } from "./table.ts";

const ASKED = 200;

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

export async function benchScale(): Promise<void> {
  const rows: Row[] = [];
  for (const segments of [10, 1_000_000]) {
    await using workspace = await Workspace.create();
    const installation = await installWalarc(workspace);
    const storeDirectory = workspace.path("store");
    await fillStore(storeDirectory, segments);
    const { uid, gid } = workspace.account;
    if (process.getuid?.() === 0) execFileSync("chown", ["-R", `${uid}:${gid}`, storeDirectory]);
    await using daemon = await WalarcDaemon.prepare({ workspace, installation, storeDirectory });
    const { wallMs: startMs } = await timed(() => daemon.start());
    const miss = segmentNameOf({ number: segments + 5 });
    const statusMs = await askMany(daemon, "/v1/clusters/bench", 200);
    const absentMs = await askMany(daemon, `/v1/clusters/bench/wal/${miss}`, 404);
    rows.push({
      name: `${segments} segments`,
      figures: {
        "start ms": startMs,
        "status ms": statusMs,
        "absent ms": absentMs,
        "daemon peak MB": new Standing(daemon.pid).peakMb,
      },
    });
  }
  printTable(`answers of the daemon, medians of ${ASKED}`, rows, { ratioTo: "10 segments" });
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
