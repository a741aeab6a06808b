/** The daemon's peak memory when many push or fetch at once, and when segments are huge. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { type Installation, installWalarc } from "../test/support/installation.ts";
import { segmentNameOf, writeSegmentFile } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { Standing, timeCommand, timed } from "./measure.ts";
import { printTable, type Row } from "./table.ts";
import { type BenchToken, makeToken } from "./token.ts";

const MIB = 2 ** 20;
const LIMIT_MB = 300;

interface Crowd {
  readonly segmentSizeBytes: number;
  /** Segments of each cluster. */
  readonly segments: number;
  readonly clusters: number;
  /** Commands under way at the same time. */
  readonly clients: number;
}

const MANY: Crowd = { segmentSizeBytes: 16 * MIB, segments: 64, clusters: 2, clients: 64 };
const HUGE: Crowd = { segmentSizeBytes: 1024 * MIB, segments: 1, clusters: 8, clients: 8 };

interface Scene {
  readonly workspace: Workspace;
  readonly installation: Installation;
  /** Where the files to push are. */
  readonly directory: string;
  readonly token: BenchToken;
}

/** Each row is a daemon of its own, since a peak stays for the life of a process. */
export async function benchMemory(): Promise<void> {
  const rows: Row[] = [];
  for (const crowd of [MANY, HUGE]) {
    await using workspace = await Workspace.create();
    const installation = await installWalarc(workspace);
    const directory = await workspace.makeDirectory("wal");
    for (let number = 1; number <= crowd.segments; number += 1) {
      const { segmentSizeBytes } = crowd;
      writeSegmentFile(directory, { number, segmentSizeBytes, content: "mixed" });
    }
    const scene = { workspace, installation, directory, token: await makeToken(workspace) };
    for (const way of ["socket", "tcp"] as const) {
      for (const action of ["push", "fetch"] as const) {
        rows.push(await crowdOnce(scene, crowd, { way, action }));
      }
      await rm(workspace.path(`store-${way}`), { recursive: true });
    }
  }
  printTable(`the daemon's peak memory; ${LIMIT_MB} MB are allowed`, rows);
}

async function crowdOnce(
  { workspace, installation, directory, token }: Scene,
  crowd: Crowd,
  { way, action }: { way: "socket" | "tcp"; action: "push" | "fetch" },
): Promise<Row> {
  await using daemon = await WalarcDaemon.prepare({
    workspace,
    installation,
    name: `${way}-${action}`,
    storeDirectory: workspace.path(`store-${way}`),
    listen: "127.0.0.1:0",
    moreConfig: token.config,
  });
  await daemon.start();
  const server = way === "tcp" ? `${daemon.tcpUrl} ${token.option}` : daemon.url;
  const commands = jobsOf(crowd).map(({ name, cluster }) => {
    const options = `--timeout 600 --server ${server} --cluster ${cluster}`;
    const command = `${installation.walarc} ${action} ${options}`;
    if (action === "push") return `${command} ${join(directory, name)}`;
    const target = workspace.path(`fetched-${cluster}-${name}`);
    return `${command} ${name} ${target} && rm ${target}`;
  });
  const surroundings = {
    account: workspace.account,
    cwd: workspace.directory,
    env: installation.env,
  };
  const count = commands.length;
  const { wallMs } = await timed(async () => {
    const client = async () => {
      for (let next = commands.shift(); next !== undefined; next = commands.shift()) {
        await timeCommand(next, surroundings);
      }
    };
    await Promise.all(Array.from({ length: crowd.clients }, client));
  });
  const standing = new Standing(daemon.pid);
  const megabytes = (count * crowd.segmentSizeBytes) / MIB;
  return {
    name: `${crowd.clients} ${action} ${crowd.segmentSizeBytes / MIB} MB, ${way}`,
    figures: {
      "peak MB": standing.peakMb,
      "MB/s": (megabytes / wallMs) * 1000,
      "daemon CPU ms/16 MB": standing.totalCpuMs / (megabytes / 16),
    },
  };
}

function jobsOf({ segments, clusters, segmentSizeBytes }: Crowd) {
  return Array.from({ length: segments * clusters }, (_, index) => ({
    name: segmentNameOf({ number: 1 + (index % segments), segmentSizeBytes }),
    cluster: `c${Math.floor(index / segments)}`,
  }));
}
