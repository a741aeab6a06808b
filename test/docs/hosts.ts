import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Systemd } from "../support/systemd.ts";

export const HOSTS = ["archive", "db1", "db2"] as const;
export type Host = (typeof HOSTS)[number];

export function isHost(text: string): text is Host {
  return HOSTS.some((host) => host === text);
}

/** Three machines on a network of their own, with the Debian packages of walarc in `/root`. */
export class Hosts implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #machines: ReadonlyMap<Host, Systemd>;

  private constructor(stack: AsyncDisposableStack, machines: ReadonlyMap<Host, Systemd>) {
    this.#stack = stack;
    this.#machines = machines;
  }

  /** Rejects where the machine, or the right to make namespaces, does not allow it. */
  static async boot(): Promise<Hosts> {
    await using stack = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), "walarc-"));
    stack.defer(() => rm(directory, { recursive: true }));
    const packages = join(directory, "packages");
    await mkdir(packages);
    execFileSync(process.execPath, ["bin/package.mjs", packages, "--compress=none"]);
    const network = layNetwork(stack);
    const machines = await Promise.all(
      HOSTS.map(async (host) => {
        const machine = await boot(host, { directory, packages, network });
        return [host, stack.use(machine)] as const;
      }),
    );
    return new Hosts(stack.move(), new Map(machines));
  }

  machine(host: Host): Systemd {
    const machine = this.#machines.get(host);
    if (machine === undefined) throw new Error(`there is no host "${host}"`);
    return machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

async function boot(
  host: Host,
  options: { directory: string; packages: string; network: string },
): Promise<Systemd> {
  const home = join(options.directory, host);
  const parts = { base: join(home, "base"), added: join(home, "added"), log: join(home, "log") };
  await mkdir(join(parts.added, "etc"), { recursive: true });
  await mkdir(join(parts.added, "root"), { mode: 0o700 });
  await mkdir(parts.base);
  await writeFile(parts.log, "");
  await writeFile(join(parts.added, "etc/hostname"), `${host}\n`);
  const known = HOSTS.map((name) => `${addressOf(name)} ${name}\n`).join("");
  await writeFile(join(parts.added, "etc/hosts"), `127.0.0.1 localhost\n${known}`);
  execFileSync("cp", ["-r", options.packages, join(parts.added, "root")]);
  return await Systemd.boot({ ...parts, network: `${options.network}-${host}` });
}

/** Of the range that documentation may use (RFC 5737); seen by these machines only. */
function addressOf(host: Host): string {
  return `192.0.2.${HOSTS.indexOf(host) + 1}`;
}

/** A network namespace for each host, and one with the bridge between them. */
function layNetwork(stack: AsyncDisposableStack): string {
  const network = `walarc${process.pid}`;
  const ip = (...args: string[]) => execFileSync("ip", args, { stdio: "pipe" });
  const add = (name: string) => {
    ip("netns", "add", name);
    stack.defer(() => void ip("netns", "delete", name));
    ip("-n", name, "link", "set", "lo", "up");
  };
  add(network);
  ip("-n", network, "link", "add", "bridge", "type", "bridge");
  ip("-n", network, "link", "set", "bridge", "up");
  for (const host of HOSTS) {
    const name = `${network}-${host}`;
    add(name);
    const peer = ["peer", "name", "eth0", "netns", name];
    ip("-n", network, "link", "add", host, "type", "veth", ...peer);
    ip("-n", network, "link", "set", host, "master", "bridge", "up");
    ip("-n", name, "address", "add", `${addressOf(host)}/24`, "dev", "eth0");
    ip("-n", name, "link", "set", "eth0", "up");
  }
  return network;
}
