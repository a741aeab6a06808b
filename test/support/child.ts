import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Account } from "./account.ts";
import { eventually } from "./eventually.ts";

interface Surroundings {
  readonly account: Account;
  /** A directory that the account may enter. */
  readonly cwd: string;
  /** The whole environment: nothing is inherited from the test run. */
  readonly env: NodeJS.ProcessEnv;
}

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; ends it by force after `timeoutMs`. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: Surroundings & { timeoutMs?: number },
): Promise<Outcome> {
  const child = spawn(command, args, {
    ...identity(options.account),
    cwd: options.cwd,
    env: options.env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 60_000,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
  const [status, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout: await stdout, stderr: await stderr };
}

/** Runs a command that must succeed; returns its standard output. */
export async function requireCommand(
  command: string,
  args: readonly string[],
  options: Surroundings & { timeoutMs?: number },
): Promise<string> {
  const outcome = await runCommand(command, args, options);
  if (outcome.status === 0) return outcome.stdout;
  const how = outcome.signal ?? `status ${outcome.status}`;
  throw new Error(`${command} ${args.join(" ")} ended with ${how}\n${outcome.stderr}`);
}

/**
 * A child that runs until it is told to stop; whatever it says goes to `logFile`, over restarts.
 */
export class Service {
  readonly name: string;
  readonly logFile: string;
  /** Resolves when it has ended, with its status or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  #isRunning = true;

  constructor(
    command: string,
    args: readonly string[],
    options: Surroundings & { name: string; logFile: string },
  ) {
    this.name = options.name;
    this.logFile = options.logFile;
    const log = openSync(options.logFile, "a", 0o644);
    this.#child = spawn(command, args, {
      ...identity(options.account),
      cwd: options.cwd,
      env: options.env,
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.ended = once(this.#child, "exit").then(([status, signal]: unknown[]) => {
      this.#isRunning = false;
      return (status ?? signal) as number | NodeJS.Signals;
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} did not start`);
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it and all its descendants, giving them `afterMs` to end by themselves. */
  async killAll({ afterMs = 0 }: { afterMs?: number } = {}): Promise<void> {
    if (!this.isRunning) return;
    const family = familyOf(this.pid);
    const patience = new AbortController();
    const timer = delay(afterMs, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.ended, timer]);
    patience.abort();
    for (const process of family) killIfThere(process);
    await this.ended;
    await eventually(`${this.name} and its children are gone`, () => !family.some(isThere));
  }
}

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** When it was started: with the number, what tells it from a later process of that number. */
  readonly startedAt: string;
  readonly isZombie: boolean;
}

/** The process and everything it has started, and they, by /proc. */
function familyOf(pid: number): ProcessEntry[] {
  const all = readdirSync("/proc").map(Number).filter(Number.isInteger).map(processEntry);
  const family = all.filter((entry) => entry?.pid === pid) as ProcessEntry[];
  for (const ancestor of family) {
    for (const entry of all) if (entry?.parent === ancestor.pid) family.push(entry);
  }
  return family;
}

function processEntry(pid: number): ProcessEntry | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name, in parentheses, may itself hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, parent, startedAt] = [fields[0], fields[1], fields[19]];
    return { pid, parent: Number(parent), startedAt: String(startedAt), isZombie: state === "Z" };
  } catch {
    return undefined; // it has ended meanwhile
  }
}

function isThere({ pid, startedAt }: ProcessEntry): boolean {
  const now = processEntry(pid);
  return now !== undefined && now.startedAt === startedAt && !now.isZombie;
}

function killIfThere(entry: ProcessEntry): void {
  if (!isThere(entry)) return;
  try {
    process.kill(entry.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The end of a log, for an error message. */
export function logTail(file: string, linesMax = 60): string {
  return `--- ${file}\n${readLog(file).split("\n").slice(-linesMax).join("\n")}`;
}

/** The whole log so far; empty before there is one. */
export function readLog(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

function identity(account: Account): { uid?: number; gid?: number } {
  return process.getuid?.() === 0 ? { uid: account.uid, gid: account.gid } : {};
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = "";
  for await (const chunk of stream) all += String(chunk);
  return all;
}
