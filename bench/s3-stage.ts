/** A real S3 server, daemons on it, and pgBackRest and curl beside them. */
import { chown, link, mkdir, readdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Authority, LOCAL_NAMES } from "../test/support/certificates.ts";
import type { Bucket } from "../test/support/bucket.ts";
import { WalarcDaemon } from "../test/support/daemon.ts";
import { Rgw } from "../test/support/rgw.ts";
import { warmUp } from "./archivers.ts";
import type { Backlog } from "./backlog.ts";
import type { Surroundings } from "./measure.ts";
import { hasPgbackrest, Pgbackrest } from "./pgbackrest.ts";

/** One daemon with a bucket of its own. */
export interface BucketDaemon {
  readonly bucket: Bucket;
  readonly daemon: WalarcDaemon;
}

export class S3Stage implements AsyncDisposable {
  readonly backlog: Backlog;
  readonly rgw: Rgw;
  readonly segments: readonly string[];
  readonly #stack: AsyncDisposableStack;
  readonly #authorityFile: string;
  #names = 0;

  private constructor(
    parts: Pick<S3Stage, "backlog" | "rgw" | "segments">,
    own: { stack: AsyncDisposableStack; authorityFile: string },
  ) {
    this.backlog = parts.backlog;
    this.rgw = parts.rgw;
    this.segments = parts.segments;
    this.#stack = own.stack;
    this.#authorityFile = own.authorityFile;
  }

  static async set(backlog: Backlog, options: { segments: number }): Promise<S3Stage> {
    await using stack = new AsyncDisposableStack();
    const { workspace } = backlog;
    const authority = stack.use(new Authority());
    const { cert, key } = authority.issue({ names: LOCAL_NAMES });
    const tls = {
      certificateFile: await workspace.writeFile(workspace.path("s3.crt"), cert),
      keyFile: await workspace.writeFile(workspace.path("s3.key"), key),
    };
    const rgw = stack.use(await Rgw.start(workspace, { tls }));
    const segments = backlog.segments.slice(-options.segments);
    const authorityFile = await workspace.writeFile(workspace.path("ca.crt"), authority.cert);
    return new S3Stage({ backlog, rgw, segments }, { stack: stack.move(), authorityFile });
  }

  get surroundings(): Surroundings {
    const { workspace, installation, postgres } = this.backlog;
    const { env } = installation;
    return { account: workspace.account, cwd: postgres.dataDirectory, env };
  }

  /** A daemon on a new bucket, with or without TLS between them. */
  async daemon(way: "plain" | "tls"): Promise<BucketDaemon> {
    const { workspace, installation } = this.backlog;
    const bucket = this.#stack.use(await this.rgw.bucket());
    const endpoint = way === "tls" ? this.rgw.tlsEndpoint : bucket.access.endpoint;
    const env = { ...installation.env, NODE_EXTRA_CA_CERTS: this.#authorityFile };
    const daemon = await WalarcDaemon.prepare({
      workspace,
      installation: { ...installation, env },
      name: this.#freshName("s3-daemon"),
      bucket: { name: bucket.name, access: { ...bucket.access, endpoint } },
    });
    this.#stack.use(daemon);
    await daemon.start();
    await warmUp(daemon);
    return { bucket, daemon };
  }

  /**
   * pgBackRest on a new bucket, or nothing where it is not installed. It speaks to S3 over TLS only;
   * the gateway's certificate is not verified.
   */
  async pgbackrest(
    options: { manner: "sync" } | { manner: "async"; processes: number },
  ): Promise<{ bucket: Bucket; repository: Pgbackrest }[]> {
    if (!hasPgbackrest()) return [];
    const { workspace, postgres } = this.backlog;
    const bucket = this.#stack.use(await this.rgw.bucket());
    const { region, accessKeyId, secretAccessKey } = bucket.access;
    const repository = await Pgbackrest.create({
      workspace,
      postgres,
      name: this.#freshName("pgbackrest-s3"),
      compression: "zst",
      ...options,
      repository: `repo1-type=s3
repo1-path=/repo
repo1-s3-bucket=${bucket.name}
repo1-s3-endpoint=${this.rgw.tlsEndpoint}
repo1-s3-region=${region}
repo1-s3-key=${accessKeyId}
repo1-s3-key-secret=${secretAccessKey}
repo1-s3-uri-style=path
repo1-storage-verify-tls=n`,
    });
    this.#stack.use(repository);
    return [{ bucket, repository }];
  }

  /** How a curl command with signed requests begins, for an address that ends in the bucket. */
  curl(way: "plain" | "tls"): string {
    const { region, accessKeyId, secretAccessKey } = this.rgw.access;
    const signed = `--aws-sigv4 aws:amz:${region}:s3 --user '${accessKeyId}:${secretAccessKey}'`;
    const trust = way === "tls" ? ` --cacert ${this.#authorityFile}` : "";
    const unhashed = "--header 'x-amz-content-sha256: UNSIGNED-PAYLOAD'";
    return `curl --fail --silent --output /dev/null ${unhashed} ${signed}${trust}`;
  }

  endpoint(way: "plain" | "tls"): string {
    return way === "tls" ? this.rgw.tlsEndpoint : this.rgw.access.endpoint;
  }

  /** Requests that a bucket has had so far. */
  requestsOf(bucket: Bucket): readonly string[] {
    return this.rgw.requests().filter((line) => line.split(/[/? ]/)[2] === bucket.name);
  }

  /** A data directory as far as an archive_command looks at it, with all segments waiting. */
  async host(): Promise<string> {
    const { workspace, postgres } = this.backlog;
    const directory = await workspace.makeDirectory(this.#freshName("host"));
    const { uid, gid } = workspace.account;
    const name = basename(directory);
    await workspace.makeDirectory(name, "pg_wal");
    await workspace.makeDirectory(name, "global");
    await link(
      join(postgres.dataDirectory, "global/pg_control"),
      join(directory, "global/pg_control"),
    );
    const status = join(directory, "pg_wal/archive_status");
    await mkdir(status);
    for (const name of this.segments) {
      await link(join(postgres.walDirectory, name), join(directory, "pg_wal", name));
      await writeFile(join(status, `${name}.ready`), "");
    }
    if (process.getuid?.() === 0) await chownAll(status, { uid, gid });
    return directory;
  }

  /** A new directory for results. */
  async directory(stem: string): Promise<string> {
    return this.backlog.workspace.makeDirectory(this.#freshName(stem));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #freshName(stem: string): string {
    return `${stem}-${(this.#names += 1)}`;
  }
}

async function chownAll(directory: string, owner: { uid: number; gid: number }): Promise<void> {
  for (const name of ["", ...(await readdir(directory))]) {
    await chown(join(directory, name), owner.uid, owner.gid);
  }
}
