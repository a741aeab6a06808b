/** Measuring commands and standing processes: wall time, CPU with all children, peak memory. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { Account } from "../test/support/account.ts";

export interface Surroundings {
  readonly account: Account;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Sample {
  readonly wallMs: number;
  /** User and system time of the command and everything it waited for. */
  readonly cpuMs: number;
}

/**
 * Runs a shell command as PostgreSQL would, through `sh -c`, and reports what it cost. bash's own
 * `time` counts children to the millisecond. Throws when the command does not end with `status`.
 */
export async function timeCommand(
  command: string,
  options: Surroundings & { status?: number },
): Promise<Sample> {
  const script = 'TIMEFORMAT="walarc-time %3R %3U %3S"; time /bin/sh -c "$1"';
  const child = spawn("/bin/bash", ["-c", script, "bash", command], {
    uid: options.account.uid,
    gid: options.account.gid,
    cwd: options.cwd,
    env: options.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const chunks: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [status] = (await once(child, "close")) as [number | null];
  const text = Buffer.concat(chunks).toString();
  const found = /walarc-time ([\d.]+) ([\d.]+) ([\d.]+)/.exec(text);
  if (status !== (options.status ?? 0) || found === null) {
    throw new Error(`"${command}" ended with ${status}: ${text}`);
  }
  const [wall, user, system] = found.slice(1).map((seconds) => Number(seconds) * 1000);
  return { wallMs: wall!, cpuMs: user! + system! };
}

/** Highest resident memory of a command, sampled while it runs, in MB. */
export async function peakMemory(command: string, options: Surroundings): Promise<number> {
  const child = spawn("/bin/sh", ["-c", `exec ${command}`], {
    uid: options.account.uid,
    gid: options.account.gid,
    cwd: options.cwd,
    env: options.env,
    stdio: "ignore",
  });
  const ended = once(child, "close");
  let peakMb = 0;
  const timer = setInterval(() => {
    peakMb = Math.max(peakMb, memoryMb(child.pid, "VmHWM"));
  }, 1);
  await ended;
  clearInterval(timer);
  return peakMb;
}

/** A process that stands beside the commands: its CPU since `start`, and its peak memory. */
export class Standing {
  readonly #pid: number;
  #startMs: number;

  constructor(pid: number) {
    this.#pid = pid;
    this.#startMs = processCpuMs(pid);
  }

  restart(): void {
    this.#startMs = processCpuMs(this.#pid);
  }

  get cpuMs(): number {
    return processCpuMs(this.#pid) - this.#startMs;
  }

  /** Since the process began. */
  get totalCpuMs(): number {
    return processCpuMs(this.#pid);
  }

  /** Since the process began. */
  get peakMb(): number {
    return memoryMb(this.#pid, "VmHWM");
  }
}

/** proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms. */
function processCpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function memoryMb(pid: number | undefined, field: "VmHWM" | "VmRSS"): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0; // It has just ended.
  }
}

export async function timed<T>(work: () => Promise<T>): Promise<{ value: T; wallMs: number }> {
  const start = performance.now();
  const value = await work();
  return { value, wallMs: performance.now() - start };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Of all files beneath a directory. */
export async function treeBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}
