import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { eventually, Hopeless } from "./eventually.ts";

const run = promisify(execFile);

/**
 * What a container engine does with an image, without the engine: a root that cannot be written to,
 * namespaces of its own, no rights. Arguments: a directory for it, the image's root, what to add to
 * that, the directory that becomes its volume, user, group, and the command, which becomes PID 1.
 */
const START = `
set -e
base=$1 root=$2 added=$3 volume=$4 user=$5 group=$6
shift 6
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$base/upper,workdir=$base/work" "$base/root"
cd "$base/root"
cp -a "$added/." .
mkdir -p mnt var/lib/walarc run/walarc proc dev
mount -o remount,ro "$base/root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom; do
  : > "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mount -t tmpfs -o "uid=$user,gid=$group,mode=0750" tmpfs run/walarc
mount --bind "$volume" var/lib/walarc
pivot_root . mnt
umount -l /mnt
cd /var/lib/walarc
exec env -i PATH=/usr/local/bin:/usr/bin:/bin setpriv --reuid="$user" --regid="$group" \\
  --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
`;

export interface ContainerOptions {
  /** An empty directory. */
  readonly base: string;
  /** The image's root directory. */
  readonly root: string;
  /** What to add to it. */
  readonly added: string;
  /** Becomes /var/lib/walarc. */
  readonly volume: string;
  /** `uid:gid`. */
  readonly user: string;
  readonly command: readonly string[];
  readonly logFile: string;
}

/** A process as PID 1 of namespaces of its own, on a root that it cannot write to. */
export class Container implements AsyncDisposable {
  /** Resolves with the status of PID 1. */
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #options: ContainerOptions;

  constructor(options: ContainerOptions) {
    this.#options = options;
    const { base, root, added, volume, user, command, logFile } = options;
    const namespaces = ["mount", "pid", "uts", "ipc"].map((name) => `--${name}`);
    const script = ["/bin/sh", "-c", START, "start", base, root, added, volume];
    const log = openSync(logFile, "a");
    this.#child = spawn(
      "unshare",
      [...namespaces, "--fork", "--kill-child=KILL", ...script, ...user.split(":"), ...command],
      { stdio: ["ignore", log, log] },
    );
    closeSync(log);
    this.ended = once(this.#child, "exit").then(([status]) => status as number | null);
  }

  log(): string {
    return readFileSync(this.#options.logFile, "utf8");
  }

  /** Resolves when the command ends with 0 in the container, as its user. */
  async healthy(command: readonly string[]): Promise<void> {
    await eventually(
      "the container is healthy",
      async () => {
        if (this.#child.exitCode !== null) throw new Hopeless(`it has ended\n${this.log()}`);
        return (await this.run(command)).status === 0;
      },
      { evidence: () => this.log() },
    );
  }

  /** Runs a command beside PID 1, as `exec` of an engine does; the outcome whatever it is. */
  async run(
    command: readonly string[],
    { user = this.#options.user }: { user?: string } = {},
  ): Promise<{ status: number; output: string }> {
    const [uid, gid] = user.split(":");
    const enter = ["--target", String(this.#pid()), "--all", "--root", "--wdns=/var/lib/walarc"];
    const as = [`--setuid=${uid}`, `--setgid=${gid}`];
    const env = { PATH: "/usr/local/bin:/usr/bin:/bin" };
    try {
      const { stdout, stderr } = await run("nsenter", [...enter, ...as, ...command], { env });
      return { status: 0, output: stdout + stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
      if (typeof code !== "number") throw error;
      return { status: code, output: stdout + stderr };
    }
  }

  /** Sends a signal to PID 1, as an engine does: from outside. */
  signal(name: NodeJS.Signals): void {
    process.kill(this.#pid(), name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  #pid(): number {
    const parent = String(this.#child.pid);
    const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "latin1").trim();
    if (!/^\d+$/.test(children)) throw new Error("PID 1 is not there");
    return Number(children);
  }
}
