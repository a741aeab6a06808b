/** All clusters of one store: the use cases that HTTP and the spool call. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { isFailure, WalarcError } from "../errors.ts";
import { MemoryBudget, type VerifiedObject } from "../object/verify.ts";
import type { Retention } from "../retention/retention.ts";
import type { Signalled, Store } from "../store/store.ts";
import type { WalName } from "../wal/name.ts";
import { joinBindings, UNBOUND } from "./binding.ts";
import { ClusterArchive } from "./cluster.ts";
import { Configured, type ConfiguredCluster } from "./configured.ts";
import { daemonName } from "./daemon-name.ts";
import { type Feed, fetchBeside } from "./feed.ts";
import { type FetchOptions, fetchWalFile } from "./fetch.ts";
import { Gate } from "./gate.ts";
import { isClusterName } from "./keys.ts";
import { Intake } from "./intake.ts";
import type { LocalPushOptions } from "./local-push.ts";
import { type Page, pageOf } from "./listing.ts";
import type { PushOptions, PushResult } from "./push.ts";
import { type ClusterStatus, statusOf } from "./status.ts";
import { Strangers } from "./strangers.ts";

export interface ArchiveOptions {
  readonly store: Store;
  readonly log: Logger;
  /** zstd level, -7..19. */
  readonly compressionLevel: number;
  /**
   * The configured clusters by name: then no others are served. Without any, a cluster is made by
   * its first valid push.
   */
  readonly clusters: ReadonlyMap<string, ConfiguredCluster>;
  /** By cluster, the spools that feed it: these clusters are known before their first push. */
  readonly spools?: ReadonlyMap<string, readonly Feed[]>;
  /** Where the store is shared: so long another daemon's right to prune has to stand still, */
  readonly leaseMs?: number | undefined;
  /** and so long its pushes may take to close a gap shortly before the newest segment. */
  readonly overtakenMs?: number | undefined;
}

/** Pushes that stream at once, 5 MB each; a cluster whose storage hangs has a quarter at most. */
const PUSHES_IN_ALL = 24;

/** Plain bytes of verified objects that all fetches together may hold in memory. */
const FETCH_MEMORY_BYTES = 64 * 1024 * 1024;

/** Between attempts to read a cluster that its store does not give. */
const PAUSE_MS = 1000;
const PAUSE_MS_MAX = 30_000;

export class Archive implements AsyncDisposable {
  readonly #options: ArchiveOptions;
  readonly #configured: Configured;
  readonly #budget = new MemoryBudget(FETCH_MEMORY_BYTES);
  readonly #pushes = new Gate(PUSHES_IN_ALL);
  readonly #clusters = new Map<string, ClusterArchive>();
  readonly #intakes = new Map<ClusterArchive, Intake>();
  readonly #stop = new AbortController();
  /** Never the same twice, so that no daemon takes another's lease for its own. */
  readonly #daemon = daemonName();
  readonly #strangers: Strangers;

  private constructor(options: ArchiveOptions) {
    this.#options = options;
    this.#configured = new Configured(options.clusters, options.spools);
    this.#strangers = new Strangers(options.store);
    for (const name of this.#configured.names()) this.#make(name);
  }

  /**
   * Finds the clusters of the store. Their catalogs load in the background: a request waits for its
   * own cluster alone, so one that hangs harms no other.
   */
  static async open(options: ArchiveOptions & Signalled): Promise<Archive> {
    const archive = new Archive(options);
    for (const name of await archive.#storedClusters(options)) {
      if (!isClusterName(name) || archive.#clusters.has(name)) continue;
      if (options.clusters.size === 0) archive.#make(name);
      else options.log.warn({ cluster: name }, "stored cluster is not configured, so not served");
    }
    for (const cluster of archive.#clusters.values()) void archive.#preload(cluster);
    return archive;
  }

  /**
   * Serves these clusters from now on, and on these terms; what identifies them stays what it was.
   */
  reconfigure(clusters: ReadonlyMap<string, ConfiguredCluster>): void {
    this.#configured.replace(clusters);
    for (const name of this.#configured.names()) {
      if (!this.#clusters.has(name)) void this.#preload(this.#make(name));
    }
    for (const cluster of this.#served()) {
      this.#intake(cluster).limit(clusters.get(cluster.name)?.pushRate);
    }
  }

  /** Whether other daemons may use the store as well. */
  get isShared(): boolean {
    return this.#options.store.isShared;
  }

  /** Finds the clusters that other daemons have made in the store since. */
  async discover(options: Signalled): Promise<void> {
    const { store } = this.#options;
    if (!store.isShared || this.#configured.size > 0) return;
    for (const name of await store.clusters(options)) {
      if (isClusterName(name) && !this.#clusters.has(name)) void this.#preload(this.#make(name));
    }
  }

  /** Rejects as `pushWalFile` does, and with `unknown-cluster`. A refused push makes no cluster. */
  async push(
    clusterName: string,
    name: WalName,
    body: AsyncIterable<Buffer>,
    options: PushOptions,
  ): Promise<PushResult> {
    if (this.#configured.isDropped(clusterName)) throw this.#unknown(clusterName);
    const cluster = this.#clusters.get(clusterName) ?? this.#makeNew(clusterName);
    cluster.pushesUnderWay += 1;
    try {
      return await this.#intake(cluster).push(name, body, options);
    } finally {
      cluster.pushesUnderWay -= 1;
      if (!this.#isKnown(cluster) && cluster.pushesUnderWay === 0) {
        this.#clusters.delete(clusterName);
        this.#intakes.delete(cluster);
      }
    }
  }

  /** Rejects as `pushLocalFile` does, and with `unknown-cluster`. */
  async pushLocal(
    clusterName: string,
    name: WalName,
    options: LocalPushOptions,
  ): Promise<PushResult> {
    const cluster = await this.#require(clusterName, options);
    return await this.#intake(cluster).pushLocal(name, options);
  }

  /** Rejects as `fetchWalFile` does, and with `unknown-cluster`. Dispose the result. */
  async fetch(clusterName: string, name: WalName, options: FetchOptions): Promise<VerifiedObject> {
    const cluster = await this.#require(clusterName, options);
    const fetch = () => fetchWalFile(cluster, name, options);
    const fetchOnce = () => fetchBeside(this.#feeds(clusterName), name, fetch);
    return await this.#intake(cluster).fetchAfterPushes(name, fetchOnce, options);
  }

  async page(
    clusterName: string,
    options: Signalled & { after?: string | undefined; limit: number },
  ): Promise<Page> {
    const cluster = await this.#require(clusterName, options);
    await cluster.loaded(options);
    return pageOf(cluster, options);
  }

  async status(clusterName: string, options: Signalled): Promise<ClusterStatus> {
    const cluster = await this.#require(clusterName, options);
    await cluster.loaded(options);
    const status = statusOf(cluster, await cluster.retention.register.load(options));
    const spools = this.#feeds(clusterName).map((feed) => feed.status());
    return spools.length === 0 ? status : { ...status, spools };
  }

  /**
   * Who needs which WAL of the cluster, and its pruning. Rejects with `rejected` when the caller
   * belongs to another one.
   */
  async retention(clusterName: string, options: FetchOptions): Promise<Retention> {
    const cluster = await this.#require(clusterName, options);
    await cluster.loaded(options);
    const told = { ...UNBOUND, systemIdentifier: options.systemIdentifier };
    joinBindings(cluster.binding, told, cluster.name);
    return cluster.retention;
  }

  /** Names, ascending. */
  clusters(): string[] {
    const known = this.#served().filter((cluster) => this.#isKnown(cluster));
    return known.map((cluster) => cluster.name).sort();
  }

  /** The clusters whose catalog is complete: what metrics are made of. */
  loadedClusters(): ClusterArchive[] {
    return this.#served().filter((cluster) => cluster.isLoaded);
  }

  /** The clusters that could not be read yet. */
  loadingClusters(): string[] {
    const loading = this.#served().filter((cluster) => !cluster.isLoaded);
    return loading.map((cluster) => cluster.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#intakes.values()].map((intake) => intake[Symbol.asyncDispose]()));
    await Promise.all([...this.#clusters.values()].map((cluster) => cluster.stop()));
  }

  async #require(name: string, { signal }: Signalled): Promise<ClusterArchive> {
    const cluster = this.#clusters.get(name);
    if (cluster !== undefined && this.#isKnown(cluster)) return cluster;
    const { store } = this.#options;
    const isMayBe = store.isShared && this.#configured.size === 0 && isClusterName(name);
    if (!isMayBe || !(await this.#strangers.isStored(name, { signal }))) throw this.#unknown(name);
    const made = this.#clusters.get(name) ?? this.#make(name);
    await made.loaded({ signal });
    // It was here before, for a push that had not been accepted yet.
    if (made.isEmpty) await made.others.look({ signal });
    return made;
  }

  /** Without those that the configuration does not name any more. */
  #served(): ClusterArchive[] {
    return [...this.#clusters.values()].filter(({ name }) => !this.#configured.isDropped(name));
  }

  /** Not when it is a mere first push that may still be refused. */
  #isKnown(cluster: ClusterArchive): boolean {
    if (this.#configured.has(cluster.name)) return true;
    return this.#configured.size === 0 && (!cluster.isLoaded || !cluster.isEmpty);
  }

  #intake(cluster: ClusterArchive): Intake {
    const intake = this.#intakes.get(cluster);
    if (intake === undefined) throw new Error(`cluster "${cluster.name}" was made without intake`);
    return intake;
  }

  #feeds(cluster: string): readonly Feed[] {
    return this.#options.spools?.get(cluster) ?? [];
  }

  #makeNew(name: string): ClusterArchive {
    if (this.#configured.size > 0) throw this.#unknown(name);
    if (!isClusterName(name)) throw new WalarcError("usage", `"${name}" is no cluster name`);
    return this.#make(name);
  }

  #make(name: string): ClusterArchive {
    const configured = this.#configured.get(name);
    const { policy, standbys } = this.#configured.termsOf(name);
    const cluster = new ClusterArchive({
      name,
      store: this.#options.store,
      log: this.#options.log,
      compressionLevel: this.#options.compressionLevel,
      budget: this.#budget,
      pushesInAll: this.#pushes,
      systemIdentifier: configured?.systemIdentifier,
      policy,
      standbys,
      daemon: this.#daemon,
      leaseMs: this.#options.leaseMs,
    });
    this.#clusters.set(name, cluster);
    const { log, overtakenMs } = this.#options;
    this.#intakes.set(cluster, new Intake(cluster, { ...configured, log, overtakenMs }));
    return cluster;
  }

  /** None while a shared store is away: the daemon is up when it comes, and looks again then. */
  async #storedClusters(options: Signalled): Promise<string[]> {
    const { store, log } = this.#options;
    try {
      return await store.clusters(options);
    } catch (error) {
      if (!store.isShared || !isFailure(error, "store-failed")) throw error;
      log.error({ err: error }, "the store does not answer: waiting for it");
      return [];
    }
  }

  /** Until it has succeeded: a cluster that nobody asks for is not read by anybody else. */
  async #preload(cluster: ClusterArchive): Promise<void> {
    const { signal } = this.#stop;
    for (let pauseMs = PAUSE_MS; !cluster.isLoaded; pauseMs = Math.min(PAUSE_MS_MAX, 2 * pauseMs)) {
      try {
        await cluster.loaded({ signal });
      } catch (error) {
        if (signal.aborted) return;
        this.#options.log.error({ cluster: cluster.name, err: error }, "cluster not loaded");
        await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {});
      }
    }
  }

  #unknown(name: string): WalarcError {
    const hint =
      this.#configured.size > 0
        ? `add [clusters.${name}] to the configuration, or check the name`
        : "check the name; a cluster is made by its first push";
    return new WalarcError("unknown-cluster", `there is no cluster "${name}"`, { hint });
  }
}
