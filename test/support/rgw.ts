import { existsSync } from "node:fs";
import { randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { logTail, readLog, requireCommand, Service } from "./child.ts";
import { eventually, Hopeless } from "./eventually.ts";
import type { Bucket } from "./bucket.ts";
import type { S3Access } from "./s3-access.ts";
import type { Workspace } from "./workspace.ts";

const PROGRAMS = [
  "ceph-mon",
  "ceph-osd",
  "radosgw",
  "radosgw-admin",
  "ceph",
  "ceph-authtool",
  "monmaptool",
];

/** Another file with which the gateway speaks TLS as well, on a port of its own. */
export interface RgwTls {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** What a machine lacks to run one; empty when it can. */
export function missingOfRgw(): readonly string[] {
  return PROGRAMS.filter((program) => !existsSync(`/usr/bin/${program}`));
}

interface RgwOptions {
  readonly tls?: RgwTls;
}

/**
 * A real S3 server: one Ceph monitor, one object store in memory and the gateway before them, on
 * loopback. It takes two seconds to start, since everything that waits for a quorum or a peer waits
 * for nobody here. It ends with its workspace, also when the test run is broken off.
 */
export class Rgw implements AsyncDisposable {
  readonly access: S3Access;
  /** The same with TLS; empty when there is none. */
  readonly tlsEndpoint: string;
  readonly #workspace: Workspace;
  readonly #directory: string;
  readonly #ports: Ports;
  readonly #cluster: Service[] = [];
  #gateway: Service | undefined;
  #buckets = 0;

  private constructor(workspace: Workspace, { ports, tls }: { ports: Ports; tls: string }) {
    this.#workspace = workspace;
    this.#directory = workspace.path("rgw");
    this.#ports = ports;
    this.tlsEndpoint = tls;
    this.access = {
      endpoint: `http://127.0.0.1:${ports.gateway}`,
      region: "us-east-1",
      accessKeyId: "AKIDWALARC",
      secretAccessKey: "the/secret+of=tests",
    };
  }

  static async start(workspace: Workspace, { tls }: RgwOptions = {}): Promise<Rgw> {
    const ports = await freePorts();
    const tlsEndpoint = tls === undefined ? "" : `https://127.0.0.1:${ports.tls}`;
    const rgw = new Rgw(workspace, { ports, tls: tlsEndpoint });
    try {
      await rgw.#startCluster(tls);
      await rgw.startGateway();
      await rgw.#makeUser("walarc", rgw.access);
    } catch (error) {
      await rgw[Symbol.asyncDispose]();
      throw error;
    }
    return rgw;
  }

  /** A new, empty bucket. */
  async bucket(): Promise<Bucket> {
    // Now, not at the top: the SDK is large, and most scenes never have a bucket.
    const { Bucket } = await import("./bucket.ts");
    const bucket = new Bucket(`archive-${(this.#buckets += 1)}`, this.access);
    await bucket.create();
    return bucket;
  }

  /** Another account, which owns no bucket and may do nothing until somebody lets it. */
  async addUser(name: string): Promise<S3Access> {
    const keys = { accessKeyId: `AKID${name.toUpperCase()}`, secretAccessKey: randomUUID() };
    await this.#makeUser(name, keys);
    return { ...this.access, ...keys };
  }

  /** The gateway comes (back); what was stored is there. */
  async startGateway(): Promise<void> {
    const gateway = this.#service("radosgw", ["-n", "client.rgw"]);
    this.#gateway = gateway;
    await eventually(
      "radosgw answers",
      async () => {
        if (!gateway.isRunning) {
          throw new Hopeless(`it ended with ${await gateway.ended}\n${this.logTail()}`);
        }
        const answer = await fetch(this.access.endpoint, { signal: AbortSignal.timeout(2000) });
        await answer.body?.cancel();
        return answer.ok;
      },
      { evidence: () => this.logTail() },
    );
  }

  /** The bucket is away: connections are refused. */
  async stopGateway(): Promise<void> {
    await this.#gateway?.killAll();
  }

  /** The bucket hangs: the kernel takes connections, and nobody answers. */
  freezeGateway(): void {
    this.#gateway?.signal("SIGSTOP");
  }

  thawGateway(): void {
    this.#gateway?.signal("SIGCONT");
  }

  /** Every request that was answered so far: `PUT /bucket/key?query 200`. */
  requests(): string[] {
    const log = readLog(`${this.#directory}/log/client.rgw.log`);
    return [...log.matchAll(/ beast: .*? "(\S+ \S+) HTTP\/[\d.]+" (\d+) /g)].map(
      ([, request = "", status = ""]) => `${request} ${status}`,
    );
  }

  logTail(): string {
    const services = [...this.#cluster, this.#gateway].filter((service) => service !== undefined);
    return services.map(({ logFile }) => logTail(logFile, 20)).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is worth keeping, and an orderly end takes longer than the start.
    await this.#gateway?.killAll();
    await Promise.all(this.#cluster.map((service) => service.killAll()));
  }

  async #startCluster(tls: RgwTls | undefined): Promise<void> {
    const clusterId = randomUUID();
    const directory = this.#directory;
    for (const part of ["rgw", "rgw/mon", "rgw/osd", "rgw/run", "rgw/log"]) {
      await this.#workspace.makeDirectory(part);
    }
    const config = this.#config({ clusterId, tls });
    await this.#workspace.writeFile(`${directory}/ceph.conf`, config);
    await this.#makeKeys();

    const monitorMap = `${directory}/monmap`;
    const address = `[v2:127.0.0.1:${this.#ports.monitor}]`;
    const map = ["--create", "--addv", "a", address, "--fsid", clusterId, monitorMap];
    await this.#run("monmaptool", map);
    await this.#run("ceph-mon", ["--mkfs", "-i", "a", "--monmap", monitorMap]);
    this.#cluster.push(this.#service("ceph-mon", ["-i", "a", "--public-addr", "127.0.0.1"]));

    const osdId = randomUUID();
    await this.#run("ceph", ["--connect-timeout", "20", "osd", "new", osdId]);
    const keys = ["-i", `${directory}/keyring`];
    await this.#run("ceph", ["--connect-timeout", "20", "auth", "import", ...keys]);
    await this.#run("ceph-osd", ["-i", "0", "--mkfs", "--osd-uuid", osdId]);
    this.#cluster.push(this.#service("ceph-osd", ["-i", "0"]));
  }

  async #makeKeys(): Promise<void> {
    const keyring = `${this.#directory}/keyring`;
    const rights: Readonly<Record<string, readonly string[]>> = {
      "mon.": ["--cap", "mon", "allow *"],
      "client.admin": ["--cap", "mon", "allow *", "--cap", "osd", "allow *"],
      "osd.0": ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"],
      "client.rgw": ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"],
    };
    await this.#run("ceph-authtool", ["--create-keyring", keyring]);
    for (const [name, caps] of Object.entries(rights)) {
      await this.#run("ceph-authtool", [keyring, "--gen-key", "-n", name, ...caps]);
    }
  }

  async #makeUser(
    name: string,
    { accessKeyId, secretAccessKey }: Pick<S3Access, "accessKeyId" | "secretAccessKey">,
  ): Promise<void> {
    const keys = [`--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`];
    const user = [`--uid=${name}`, `--display-name=${name}`, ...keys];
    await this.#run("radosgw-admin", ["user", "create", ...user]);
  }

  #service(program: string, args: readonly string[]): Service {
    return new Service(`/usr/bin/${program}`, ["-f", ...this.#configArgs, ...args], {
      ...this.#surroundings(),
      name: program,
      logFile: `${this.#directory}/log/${program}`,
    });
  }

  async #run(program: string, args: readonly string[]): Promise<string> {
    const isTool = program === "ceph-authtool" || program === "monmaptool";
    const config = isTool ? [] : this.#configArgs;
    return requireCommand(`/usr/bin/${program}`, [...config, ...args], this.#surroundings());
  }

  get #configArgs(): readonly string[] {
    return ["-c", `${this.#directory}/ceph.conf`];
  }

  #surroundings() {
    const { account } = this.#workspace;
    return { account, cwd: this.#directory, env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } };
  }

  #config({ clusterId, tls }: { clusterId: string; tls: RgwTls | undefined }): string {
    const directory = this.#directory;
    const secure =
      tls === undefined
        ? ""
        : ` ssl_endpoint=127.0.0.1:${this.#ports.tls}` +
          ` ssl_certificate=${tls.certificateFile} ssl_private_key=${tls.keyFile}`;
    return `[global]
fsid = ${clusterId}
mon host = v2:127.0.0.1:${this.#ports.monitor}/0
public addr = 127.0.0.1
keyring = ${directory}/keyring
run dir = ${directory}/run
crash dir = ${directory}/run
admin socket = ${directory}/run/$name.asok
pid file = ${directory}/run/$name.pid
log file = ${directory}/log/$name.log
mon allow pool size one = true
mon max pg per osd = 1000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
# The start makes eight pools one after the other, and each waits for the monitor.
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = ${directory}/mon
mon data avail crit = 1
mon data avail warn = 2
[osd]
osd data = ${directory}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
[client.rgw]
rgw data = ${directory}
rgw thread pool size = 64
rgw frontends = beast endpoint=127.0.0.1:${this.#ports.gateway}${secure}
`;
  }
}

interface Ports {
  readonly monitor: number;
  readonly gateway: number;
  readonly tls: number;
}

/**
 * Ports that nobody uses now; Ceph cannot tell which it would have chosen itself. Below those that
 * the kernel gives to outgoing connections, so that they stay free while the gateway is away.
 */
async function freePorts(): Promise<Ports> {
  const ports = new Set<number>();
  while (ports.size < 3) {
    const port = randomInt(10_000, 32_000);
    if (await isFree(port)) ports.add(port);
  }
  const [monitor = 0, gateway = 0, tls = 0] = ports;
  return { monitor, gateway, tls };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
