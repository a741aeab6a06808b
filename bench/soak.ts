/**
 * Everything at once for a long time: pushes, fetches, misses, refusals, reports, prunes, reloads,
 * clients that vanish. What counts is that nothing grows: memory, descriptors, timers.
 */
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { rename } from "node:fs/promises";
import { Agent, type IncomingMessage, request, type RequestOptions } from "node:http";
import { connect } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { runCommand } from "../test/support/child.ts";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { type Installation, installWalarc } from "../test/support/installation.ts";
import { makeSegment, segmentNameOf } from "../test/support/wal-maker.ts";
import { Workspace } from "../test/support/workspace.ts";
import { median } from "./measure.ts";
import { printTable } from "./table.ts";
import { makeToken } from "./token.ts";

const SECONDS = Number(process.env["WALARC_BENCH_SOAK_SECONDS"] ?? 600);
const SAMPLE_MS = 1000;
/** Before and after: until what was under way has ended, and garbage is collected. */
const REST_SECONDS = 5;
/** Segments behind the newest that the standby still needs. */
const KEPT = 50;
const MIB = 2 ** 20;

/** What must not grow, with what it may be above its beginning for other reasons than a leak. */
const LIMITS = {
  "RSS MB": { factor: 1.15, plus: 20 },
  "heap MB": { factor: 1.25, plus: 10 },
  "heap held MB": { factor: 1.5, plus: 40 },
  "buffers MB": { factor: 1.25, plus: 20 },
  descriptors: { factor: 1.1, plus: 10 },
  timers: { factor: 1.1, plus: 10 },
  handles: { factor: 1.1, plus: 10 },
} as const;

type Measure = keyof typeof LIMITS;
type Sample = Readonly<Record<Measure, number>> & { readonly atSeconds: number };

/** Prints the figures; throws when something grew. */
export async function benchSoak(): Promise<void> {
  await using workspace = await Workspace.create();
  const soak = await Soak.begin(workspace);
  await using daemon = soak.daemon;
  await daemon.start();
  await soak.push();
  await delay(REST_SECONDS * 1000);
  const before = await soak.sample();

  const end = AbortSignal.timeout(SECONDS * 1000);
  const loops = Object.entries(soak.loops()).map(async ([name, { pauseMs, step }]) => {
    while (!end.aborted) {
      await step();
      soak.done.set(name, (soak.done.get(name) ?? 0) + 1);
      await delay(pauseMs, undefined, { signal: end }).catch(() => {});
    }
  });
  const samples: Sample[] = [];
  const sampling = (async () => {
    while (!end.aborted) {
      samples.push(await soak.sample());
      await delay(SAMPLE_MS, undefined, { signal: end }).catch(() => {});
    }
  })();
  await Promise.all([...loops, sampling]);
  await delay(REST_SECONDS * 1000);
  report(soak, { before, samples, after: await soak.sample() });
}

function report(
  soak: Soak,
  { before, samples, after }: { before: Sample; samples: readonly Sample[]; after: Sample },
): void {
  const done = [...soak.done].map(([name, count]) => `${count} ${name}`).join(", ");
  process.stdout.write(`\n${SECONDS} s: ${done}\n`);
  // The first quarter is for warming up.
  const quarter = Math.floor(samples.length / 4);
  const [early, late] = [samples.slice(quarter, 2 * quarter), samples.slice(3 * quarter)];
  const grown: string[] = [];
  const rows = (Object.keys(LIMITS) as Measure[]).map((name) => {
    const figures = {
      "idle before": before[name],
      "2nd quarter": median(early.map((sample) => sample[name])),
      "4th quarter": median(late.map((sample) => sample[name])),
      "slope per hour": slopePerHour(samples.slice(quarter), name),
      "idle after": after[name],
    };
    const { factor, plus } = LIMITS[name];
    if (figures["4th quarter"] > figures["2nd quarter"] * factor + plus) grown.push(name);
    return { name, figures };
  });
  printTable("what must not grow; medians under load", rows);
  // At rest only memory may be higher: V8 and the allocator keep what they may need again.
  for (const name of ["descriptors", "timers", "handles"] as const) {
    if (after[name] > before[name] + LIMITS[name].plus) grown.push(`${name} at rest`);
  }
  if (grown.length > 0) throw new Error(`it grew: ${grown.join(", ")}`);
}

/** Of the line that fits the samples best. */
function slopePerHour(samples: readonly Sample[], name: Measure): number {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [x, y] = [mean(samples.map((one) => one.atSeconds)), mean(samples.map((one) => one[name]))];
  const both = samples.reduce((sum, one) => sum + (one.atSeconds - x) * (one[name] - y), 0);
  const square = samples.reduce((sum, one) => sum + (one.atSeconds - x) ** 2, 0);
  return (both / square) * 3600;
}

class Soak {
  readonly daemon: WalarcDaemon;
  readonly done = new Map<string, number>();
  readonly #workspace: Workspace;
  readonly #walarc: Installation;
  readonly #lasting = new Agent({ keepAlive: true, maxSockets: 4 });
  #newest = 0;

  private constructor(workspace: Workspace, parts: { daemon: WalarcDaemon; walarc: Installation }) {
    this.#workspace = workspace;
    this.daemon = parts.daemon;
    this.#walarc = parts.walarc;
  }

  static async begin(workspace: Workspace): Promise<Soak> {
    const walarc = await installWalarc(workspace);
    await workspace.makeDirectory("staging");
    const spool = await workspace.makeDirectory("spool");
    const { config } = await makeToken(workspace);
    const daemon = await WalarcDaemon.prepare({
      workspace,
      installation: walarc,
      listen: "127.0.0.1:0",
      moreConfig: `${config}
[clusters.bench]
[clusters.bench.retention]
interval = "2s"
keep_backups = 0
[[spool]]
path = "${spool}"
cluster = "bench"
settle = "100ms"
`,
    });
    return new Soak(workspace, { daemon, walarc });
  }

  /** What goes on at the same time, and how long each rests between two steps. */
  loops(): Readonly<Record<string, { pauseMs: number; step: () => Promise<void> }>> {
    const some = () => nameOf(Math.max(1, this.#newest - randomInt(KEPT / 2)));
    const wal = (name: string) => `/wal/${name}`;
    return {
      pushes: { pauseMs: 40, step: () => this.push() },
      "pushes again": { pauseMs: 200, step: () => this.#pushAgain() },
      fetches: { pauseMs: 40, step: () => this.#expect(["GET", wal(some())], [200, 404, 410]) },
      misses: { pauseMs: 10, step: () => this.#miss() },
      refusals: { pauseMs: 30, step: () => this.#refused() },
      reports: { pauseMs: 500, step: () => this.#report() },
      holds: { pauseMs: 500, step: () => this.#hold() },
      questions: { pauseMs: 200, step: () => this.#ask() },
      "broken pushes": { pauseMs: 100, step: () => this.#breakOff() },
      "spooled files": { pauseMs: 500, step: () => this.#spool() },
      commands: { pauseMs: 1000, step: () => this.#command() },
      reloads: {
        pauseMs: 5000,
        step: async () => process.kill(this.daemon.pid, "SIGHUP") && undefined,
      },
    };
  }

  async sample(): Promise<Sample> {
    const page = (await this.daemon.get("/metrics")).body.toString();
    const sum = (pattern: RegExp) =>
      [...page.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
    return {
      atSeconds: performance.now() / 1000,
      "RSS MB": rssMb(this.daemon.pid),
      "heap MB": sum(/^nodejs_heap_size_used_bytes (\S+)$/gm) / MIB,
      "heap held MB": sum(/^nodejs_heap_size_total_bytes (\S+)$/gm) / MIB,
      "buffers MB": sum(/^nodejs_external_memory_bytes (\S+)$/gm) / MIB,
      descriptors: readdirSync(`/proc/${this.daemon.pid}/fd`).length,
      timers: sum(/^nodejs_active_resources\{type="Timeout"\} (\S+)$/gm),
      handles: sum(/^nodejs_active_resources\{type="(?!Timeout)\w+"\} (\S+)$/gm),
    };
  }

  async push(): Promise<void> {
    const number = this.#newest + 1;
    const { name, bytes } = segment(number);
    await this.#expect(["PUT", `/wal/${name}`, bytes], [201]);
    this.#newest = number;
  }

  async #pushAgain(): Promise<void> {
    const { name, bytes } = segment(this.#newest);
    await this.#expect(["PUT", `/wal/${name}`, bytes], [200]);
  }

  async #miss(): Promise<void> {
    const name = nameOf(this.#newest + 1000);
    await this.#expect(["GET", `/wal/${name}`], [404]);
    await this.#expect(["GET", "/wal/0000000A.history"], [404]);
  }

  /** Junk, another content, and somebody whom nobody knows. */
  async #refused(): Promise<void> {
    const { name } = segment(this.#newest + 500);
    await this.#expect(["PUT", `/wal/${name}`, Buffer.alloc(MIB, "junk")], [422]);
    await this.#expect(["PUT", "/wal/0000000B.history", Buffer.from("nonsense\n")], [422]);
    const url = new URL(this.daemon.tcpUrl);
    const where = { host: url.hostname, port: url.port, agent: false as const };
    const path = `/v1/clusters/bench/wal/${name}`;
    const { status } = await send({ ...where, method: "PUT", path }, Buffer.alloc(100_000));
    if (status !== 401) throw new Error(`a stranger's push was answered ${status}`);
  }

  async #report(): Promise<void> {
    const from = nameOf(Math.max(1, this.#newest - KEPT));
    await this.#expect(["PUT", "/standbys/s1", { restartPoint: from }], [200]);
  }

  async #hold(): Promise<void> {
    const from = nameOf(Math.max(1, this.#newest - 5));
    await this.#expect(["PUT", "/holds/h", { from, until: null }], [200, 201]);
    await this.#expect(["DELETE", "/holds/h"], [200, 204]);
  }

  async #ask(): Promise<void> {
    for (const path of ["", "/wal", "/standbys", "/holds"])
      await this.#expect(["GET", path], [200]);
    await this.#expect(["POST", "/prune", { dryRun: true, names: false }], [200]);
  }

  /** A client that dies in the middle of its body. */
  async #breakOff(): Promise<void> {
    const { name, bytes } = segment(this.#newest + 900);
    const socket = connect(this.daemon.socketPath).on("error", () => {});
    const head = `PUT /v1/clusters/bench/wal/${name} HTTP/1.1\r\nHost: x\r\nContent-Length: ${MIB}`;
    socket.write(`${head}\r\n\r\n`);
    socket.write(bytes.subarray(0, MIB / 2));
    await delay(20);
    socket.destroy();
  }

  async #spool(): Promise<void> {
    const { name, bytes } = segment(this.#newest);
    const staged = this.#workspace.path("staging", name);
    await this.#workspace.writeFile(staged, bytes);
    await rename(staged, this.#workspace.path("spool", name));
  }

  async #command(): Promise<void> {
    const { account, directory: cwd } = this.#workspace;
    const env = { ...this.#walarc.env, WALARC_SERVER: this.daemon.url, WALARC_CLUSTER: "bench" };
    const { status, stderr } = await runCommand(this.#walarc.walarc, ["ls"], { account, cwd, env });
    if (status !== 0) throw new Error(`walarc ls ended with ${status}: ${stderr}`);
  }

  async #expect(
    [method, path, body]: [method: string, path: string, body?: object],
    statuses: readonly number[],
  ): Promise<void> {
    const bytes = body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    // Half of them on connections that stay, half on new ones.
    const agent = randomInt(2) === 0 ? this.#lasting : (false as const);
    const where = { socketPath: this.daemon.socketPath, agent, method };
    const { status, text } = await send({ ...where, path: `/v1/clusters/bench${path}` }, bytes);
    if (statuses.includes(status)) return;
    throw new Error(`${method} ${path} was answered ${status}: ${text}`);
  }
}

function nameOf(number: number): string {
  return segmentNameOf({ number, segmentSizeBytes: MIB });
}

function segment(number: number) {
  return makeSegment({ number, segmentSizeBytes: MIB, content: "sparse" });
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function send(where: RequestOptions, body?: string | Buffer): Promise<Answer> {
  const headers = typeof body === "string" ? { "content-type": "application/json" } : {};
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request({ ...where, headers }, resolve)
    .once("error", reject)
    .end(body);
  const answer = await promise;
  const chunks = await Array.fromAsync(answer as AsyncIterable<Buffer>);
  return { status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString().slice(0, 500) };
}

function rssMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}
