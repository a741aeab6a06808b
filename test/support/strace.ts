import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemEnvironment } from "./fault-tools.ts";

/**
 * One system call as strace saw it. Its beginning and end are line numbers of one log, so they
 * order calls of all threads: `a` was over before `b` began when `a.ended < b.began`.
 */
export interface TracedCall {
  readonly thread: number;
  readonly name: string;
  /** Arguments as strace writes them, descriptors with what they stand for: `23</path>`. */
  readonly args: string;
  /** `undefined` while the call has not returned. */
  readonly result: string | undefined;
  readonly began: number;
  readonly ended: number;
  /** strace had a hand in it. */
  readonly isInjected: boolean;
}

export interface StraceOptions {
  /**
   * Calls to log. What is injected is logged as well: strace injects nothing that it does not
   * trace.
   */
  readonly trace: readonly string[];
  /** Faults in strace's words: `fsync:error=EIO:when=2`. They count from here on, per thread. */
  readonly inject?: readonly string[];
  /**
   * "all" threads, those to come included, or "workers" alone: the threads of libuv that make all
   * calls on files, but neither write to sockets nor log.
   */
  readonly threads: "all" | "workers";
}

const attached = new Set<Strace>();
process.once("exit", () => {
  for (const strace of attached) strace.abandon();
});

/** strace attached to a running process; disposing it lets go. */
export class Strace implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #ended: Promise<unknown>;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
    this.#ended = once(child, "exit");
  }

  /** Resolves once every wanted thread is traced. */
  static async attach(pid: number, options: StraceOptions): Promise<Strace> {
    const directory = mkdtempSync(join(tmpdir(), "walarc-strace-"));
    const injected = (options.inject ?? []).map((fault) => fault.split(":", 1)[0] ?? "");
    const calls = [...new Set([...options.trace, ...injected.flatMap((some) => some.split(","))])];
    const follow = options.threads === "all" ? ["-f"] : [];
    const targets = options.threads === "all" ? [pid] : workersOf(pid);
    const log = ["-y", "-s", "64", "-e", "signal=none", "-o", join(directory, "log")];
    const args = [...follow, ...log, "-e", `trace=${calls.join(",")}`];
    for (const fault of options.inject ?? []) args.push("-e", `inject=${fault}`);
    for (const target of targets) args.push("-p", String(target));
    const child = spawn("strace", args, {
      env: systemEnvironment(),
      stdio: ["ignore", "ignore", "pipe"],
    });
    const strace = new Strace(child, directory);
    attached.add(strace);
    try {
      await strace.#attachedTo(targets.length);
      return strace;
    } catch (error) {
      await strace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What was called so far, in the order of the calls' beginnings. */
  calls(): TracedCall[] {
    return parseStrace(readFileSync(join(this.#directory, "log"), "utf8"));
  }

  /** The calls it has tampered with. */
  injected(): TracedCall[] {
    return this.calls().filter((call) => call.isInjected);
  }

  /** Lets go of the process. The log stays readable until disposal. */
  async detach(): Promise<void> {
    this.#child.kill("SIGINT");
    await this.#ended;
    attached.delete(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  abandon(): void {
    this.#child.kill("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #attachedTo(processes: number): Promise<void> {
    const attached = Promise.withResolvers<void>();
    let said = "";
    // To its end: strace tells of every thread that comes, and a closed pipe would kill it.
    this.#child.stderr?.on("data", (text) => {
      said += String(text);
      const told = said.split("\n").filter((line) => line.includes(" attached"));
      if (told.length >= processes) attached.resolve();
    });
    const ended = this.#ended.then(() => {
      throw new Error(`strace did not attach: ${said}`);
    });
    await Promise.race([attached.promise, ended]);
  }
}

/** Reads a log of strace -f -y -o. Lines about signals and ends of processes are passed over. */
export function parseStrace(log: string): TracedCall[] {
  const calls: Writable<TracedCall>[] = [];
  const unfinished = new Map<number, Writable<TracedCall>>();
  for (const [line, text] of log.split("\n").entries()) {
    const { thread, rest } = splitThread(text);
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (resumed !== null) {
      const call = unfinished.get(thread);
      unfinished.delete(thread);
      if (call !== undefined) finish(call, call.args + (resumed[1] ?? ""), line);
      continue;
    }
    const [, name, tail] = /^(\w+)\((.*)$/.exec(rest) ?? [];
    if (name === undefined || tail === undefined) continue;
    const call = { thread, name, args: "", result: undefined, began: line, ended: Infinity };
    calls.push({ ...call, isInjected: false });
    const added = calls.at(-1) as Writable<TracedCall>;
    if (tail.endsWith("<unfinished ...>")) {
      added.args = tail.slice(0, -"<unfinished ...>".length).trimEnd();
      unfinished.set(thread, added);
    } else {
      finish(added, tail, line);
    }
  }
  return calls;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function finish(call: Writable<TracedCall>, text: string, line: number): void {
  // The last `) = `: an argument may hold the same, a result never.
  const at = text.lastIndexOf(") = ");
  const alignedAt = text.search(/\)\s+= [^=]*$/);
  const end = alignedAt === -1 ? at : alignedAt;
  call.args = end === -1 ? text : text.slice(0, end);
  call.result = end === -1 ? undefined : text.slice(end).replace(/^\)\s+= /, "");
  call.isInjected = /\((?:INJECTED|DELAYED)[^)]*\)/.test(call.result ?? "");
  call.ended = line;
}

/** With a single target strace leaves the number out. */
function splitThread(text: string): { thread: number; rest: string } {
  const [, thread, rest] = /^(?:(\d+)\s+)?(.*)$/.exec(text) ?? [];
  return { thread: Number(thread ?? 0), rest: rest ?? "" };
}

/** libuv names its threads; they all start with the first call that needs one. */
function workersOf(pid: number): number[] {
  const workers = readdirSync(`/proc/${pid}/task`).filter((thread) => {
    return readFileSync(`/proc/${pid}/task/${thread}/comm`, "utf8").startsWith("libuv-worker");
  });
  if (workers.length === 0) throw new Error(`process ${pid} has no threads of libuv yet`);
  return workers.map(Number);
}
