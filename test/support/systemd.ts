import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, Hopeless } from "./eventually.ts";

const run = promisify(execFile);
const SYSTEMD = "/lib/systemd/systemd";

/**
 * Becomes PID 1 of a machine of its own: this machine's files, with what changes in memory only,
 * and of its services only a log. The kernel is the same one, so its settings are out of reach.
 * Arguments: a directory for it, what to add to its root, and the directory that is its log.
 */
const BOOT = `
set -e
base=$1 added=$2 log=$3
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
cd "$base/root"
rm -rf etc/fstab etc/systemd/system/*.wants
find usr/lib/systemd/system/*.target.wants -type l ! -name 'systemd-journald.s*' -delete
mount -t proc proc proc
mount -t proc -o ro proc mnt
mount --bind mnt/sys proc/sys
umount mnt
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  : > "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
: > dev/console
mount --bind "$log" dev/console
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
cp -a "$added/." .
mkdir -p mnt run/systemd/system
printf '[Unit]\\nDescription=a test\\nRequires=basic.target\\n' > run/systemd/system/test.target
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  ${SYSTEMD} --system --unit=test.target --log-target=journal --show-status=no
`;

export interface BootOptions {
  /** An empty directory for it. */
  readonly base: string;
  /** A directory whose content comes over the root. */
  readonly added: string;
  /** A file for what systemd and the boot say. */
  readonly log: string;
  /** A network namespace, by name; without one it has a network that leads nowhere. */
  readonly network?: string;
}

/** systemd as PID 1 of namespaces of its own, on a copy of this machine that vanishes with it. */
export class Systemd implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #cgroup: string;
  readonly #log: string;
  #pid = 0;

  private constructor(child: ChildProcess, parts: { cgroup: string; log: string }) {
    this.#child = child;
    this.#cgroup = parts.cgroup;
    this.#log = parts.log;
  }

  /**
   * Boots it. Rejects where the machine, or the right to make namespaces, does not allow it.
   */
  static async boot(options: BootOptions): Promise<Systemd> {
    const { base, added, log, network } = options;
    if (process.getuid?.() !== 0) throw new Error("only root can boot systemd");
    if (!existsSync(SYSTEMD)) throw new Error("systemd is not installed");
    const cgroup = makeCgroup();
    const namespaces = ["mount", "pid", "cgroup", "uts", "ipc"].map((name) => `--${name}`);
    const unshare = ["unshare", ...namespaces, "--fork", "--kill-child=KILL"];
    const enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    const place = network === undefined ? ["unshare", "--net"] : ["ip", "netns", "exec", network];
    const boot = ["/bin/sh", "-c", BOOT, "boot", base, added, log];
    const output = openSync(log, "a");
    const child = spawn("/bin/sh", ["-c", enter, cgroup, ...place, ...unshare, ...boot], {
      stdio: ["ignore", output, output],
    });
    closeSync(output);
    const systemd = new Systemd(child, { cgroup, log });
    try {
      await systemd.#booted();
    } catch (error) {
      await systemd[Symbol.asyncDispose]();
      throw error;
    }
    return systemd;
  }

  /** Of its PID 1, as this machine sees it. */
  get pid(): number {
    return this.#pid;
  }

  /** What systemd and the boot have said. */
  log(): string {
    return readFileSync(this.#log, "utf8");
  }

  /** Runs a program in its machine; the outcome whatever it is. */
  async run(...command: string[]): Promise<{ status: number; output: string }> {
    const enter = ["--target", String(this.#pid), "--all", "--root", "--wdns=/"];
    try {
      const { stdout, stderr } = await run("nsenter", [...enter, ...command], { timeout: 60_000 });
      return { status: 0, output: stdout + stderr };
    } catch (error) {
      const {
        code,
        stdout = "",
        stderr = "",
      } = error as { code?: unknown } & Record<string, string>;
      if (typeof code !== "number") throw error;
      return { status: code, output: stdout + stderr };
    }
  }

  /** Runs a program that must succeed; what it printed. */
  async require(...command: string[]): Promise<string> {
    const { status, output } = await this.run(...command);
    if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status}\n${output}`);
    return output.trim();
  }

  async property(unit: string, name: string): Promise<string> {
    return this.require("systemctl", "show", "--value", `--property=${name}`, unit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await ended;
    }
    await eventually("its processes are gone", () => isEmpty(this.#cgroup));
    removeCgroup(this.#cgroup);
  }

  async #booted(): Promise<void> {
    const parent = String(this.#child.pid);
    await eventually(
      "systemd has booted",
      async () => {
        if (this.#child.exitCode !== null) throw new Hopeless(`the boot failed\n${this.log()}`);
        const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "latin1").trim();
        if (!/^\d+$/.test(children)) return false;
        this.#pid = Number(children);
        const { output } = await this.run("systemctl", "is-active", "test.target");
        return output.trim() === "active";
      },
      { deadlineMs: 60_000, evidence: () => this.log() },
    );
  }
}

let machines = 0;

/** In the unified hierarchy, wherever that is mounted. */
function makeCgroup(): string {
  const [root] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].filter((path) =>
    existsSync(join(path, "cgroup.procs")),
  );
  if (root === undefined) throw new Error("there is no cgroup2 file system");
  const path = join(root, `walarc-test-${process.pid}-${(machines += 1)}`);
  mkdirSync(path);
  return path;
}

function isEmpty(cgroup: string): boolean {
  return /^populated 0$/m.test(readFileSync(join(cgroup, "cgroup.events"), "latin1"));
}

function removeCgroup(cgroup: string): void {
  for (const entry of readdirSync(cgroup, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(cgroup, entry.name));
  }
  rmdirSync(cgroup);
}
