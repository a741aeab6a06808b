/** A primary that archives at full speed, with and without a crowd of idle and slow connections. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { chownSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { installWalarc } from "../test/support/installation.ts";
import { MIB, writeSegmentFile } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { type Sample, timeCommand } from "./measure.ts";
import { printTable, type Row } from "./table.ts";
import { makeToken } from "./token.ts";

const CROWD = fileURLToPath(new URL("crowd.ts", import.meta.url));

/** Rounds with and without the crowd by turns, so that the machine's own load meets both. */
export async function benchHostile(options: {
  connections: number;
  segments: number;
  rounds: number;
}): Promise<void> {
  const { connections, segments, rounds } = options;
  await using workspace = await Workspace.create();
  const installation = await installWalarc(workspace);
  const token = await makeToken(workspace);
  const listen = "127.0.0.1:0";
  const parts = { workspace, installation, listen, moreConfig: token.config };
  await using daemon = await WalarcDaemon.prepare(parts);
  await daemon.start();
  const directory = await workspace.makeDirectory("wal");
  const { account } = workspace;
  const env = { ...installation.env, WALARC_SERVER: daemon.tcpUrl, WALARC_CLUSTER: "bench" };
  const surroundings = { account, cwd: workspace.directory, env };
  let number = 0;

  const push = async (): Promise<Sample> => {
    const wish = { number: (number += 1), segmentSizeBytes: 16 * MIB, content: "mixed" } as const;
    const path = writeSegmentFile(directory, wish);
    chownSync(path, account.uid, account.gid);
    return await timeCommand(`walarc push ${token.option} ${path}`, surroundings);
  };
  await push(); // The first one makes the cluster.

  const walls: Record<"alone" | "besieged", number[]> = { alone: [], besieged: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const manner of ["alone", "besieged"] as const) {
      await using crowd =
        manner === "besieged" ? await Crowd.gather(daemon.tcpUrl, connections) : undefined;
      for (let count = 0; count < segments; count += 1) walls[manner].push((await push()).wallMs);
      void crowd;
    }
  }
  const rows: Row[] = [
    { name: "undisturbed", figures: figuresOf(walls.alone) },
    { name: `${connections} connections`, figures: figuresOf(walls.besieged) },
  ];
  const title = `${rounds} × ${segments} segments of 16 MB pushed one after another over TCP`;
  printTable(title, rows, { ratioTo: "undisturbed" });
}

function figuresOf(walls: readonly number[]): Record<string, number> {
  const sorted = walls.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
  return { "median ms": at(0.5), "p95 ms": at(0.95), "all ms": walls.reduce((a, b) => a + b, 0) };
}

/** In a process of its own, so that holding thousands of connections slows nobody who measures. */
class Crowd implements AsyncDisposable {
  readonly #child: ReturnType<typeof fork>;

  private constructor(child: ReturnType<typeof fork>) {
    this.#child = child;
  }

  static async gather(url: string, connections: number): Promise<Crowd> {
    const child = fork(CROWD, [url, String(connections)], { stdio: "inherit" });
    await once(child, "message");
    return new Crowd(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill();
    await ended;
  }
}
