/** CPU of processes and all that they start, also of what leaves them and goes on in the background. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A control group (cgroups(7), version 2). What a member starts is a member, too. */
export class CpuGroup implements Disposable {
  readonly #directory: string;
  #startMs = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** `undefined` where there is none to be had: without root, or without a cgroup2 mount. */
  static open(): CpuGroup | undefined {
    const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
    const mount = mounts.find((line) => line.includes(" - cgroup2 "))?.split(" ")[4];
    if (mount === undefined) return undefined;
    try {
      const directory = join(mount, `walarc-bench-${process.pid}-${(groups += 1)}`);
      mkdirSync(directory);
      return new CpuGroup(directory);
    } catch {
      return undefined;
    }
  }

  /** Takes a process in, with all its children; the count begins anew. */
  add(pid: number): void {
    // What it starts from now on is a member by itself.
    this.#move(pid, this.#directory);
    for (const member of familyOf(pid)) this.#move(member, this.#directory);
    this.restart();
  }

  restart(): void {
    this.#startMs = this.#totalMs;
  }

  /** User and system time since the last `restart`. */
  get cpuMs(): number {
    return this.#totalMs - this.#startMs;
  }

  /** Its members live on outside of it. */
  [Symbol.dispose](): void {
    for (let attempt = 1; ; attempt += 1) {
      const members = readFileSync(join(this.#directory, "cgroup.procs"), "utf8").split("\n");
      for (const member of members.filter(Boolean)) this.#move(member, join(this.#directory, ".."));
      try {
        rmdirSync(this.#directory);
        return;
      } catch (error) {
        // Somebody was just being started, or has ended and nobody has heard of it yet.
        if (attempt === ATTEMPTS) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
      }
    }
  }

  get #totalMs(): number {
    const stat = readFileSync(join(this.#directory, "cpu.stat"), "utf8");
    return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1] ?? 0) / 1000;
  }

  #move(pid: number | string, directory: string): void {
    try {
      writeFileSync(join(directory, "cgroup.procs"), String(pid));
    } catch {
      // It has just ended, and what it used stays counted where it was.
    }
  }
}

let groups = 0;

const ATTEMPTS = 100;
const PAUSE_MS = 50;

function familyOf(pid: number): number[] {
  const family = [pid];
  const parents = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const entries = parents.map((name) => ({ pid: Number(name), parent: parentOf(name) }));
  for (const member of family) {
    for (const { pid, parent } of entries) if (parent === member) family.push(pid);
  }
  return family;
}

/** proc(5): the parent is field 4, behind the command's name in parentheses. */
function parentOf(pid: string): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return 0;
  }
}
