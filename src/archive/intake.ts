/** How WAL files come into one cluster: how fast, and from where on this host. */
import type { Logger } from "pino";
import type { Signalled } from "../store/store.ts";
import type { WalName } from "../wal/name.ts";
import type { ClusterArchive } from "./cluster.ts";
import { type LocalPushOptions, type LocalSource, pushLocalFile } from "./local-push.ts";
import type { LocalWal } from "./local-wal.ts";
import { LookAhead } from "./look-ahead.ts";
import { PushRate, type PushRateLimit } from "./push-rate.ts";
import { type PushOptions, type PushResult, pushAhead, pushWalFile } from "./push.ts";
import { fetchAfterPushes, fetchNearEnd, mayBeOvertaken, UnderWay } from "./under-way.ts";

export interface IntakeOptions {
  /** The WAL directory of the cluster's server, where the daemon runs on its host. */
  readonly localWal?: LocalWal | undefined;
  /** Without it pushes come as fast as they can. */
  readonly pushRate?: PushRateLimit | undefined;
  /** How long a fetch from a shared store waits for what newer segments may have overtaken. */
  readonly overtakenMs?: number | undefined;
}

const OVERTAKEN_MS = 5000;

export class Intake implements AsyncDisposable {
  readonly #cluster: ClusterArchive;
  readonly #source: LocalSource | undefined;
  readonly #log: Logger;
  readonly #underWay = new UnderWay();
  readonly #overtakenMs: number;
  #rate: PushRate | undefined;

  constructor(cluster: ClusterArchive, options: IntakeOptions & { log: Logger }) {
    const { localWal, pushRate, log } = options;
    this.#cluster = cluster;
    this.#log = log;
    this.#overtakenMs = options.overtakenMs ?? OVERTAKEN_MS;
    if (localWal !== undefined) this.#source = this.#sourceOf(localWal);
    this.limit(pushRate);
  }

  /** From now on; a push under way keeps the pace that it began with. */
  limit(limit: PushRateLimit | undefined): void {
    this.#rate = limit === undefined ? undefined : this.#rateOf(limit);
  }

  /** As `pushWalFile`. */
  async push(
    name: WalName,
    body: AsyncIterable<Buffer>,
    options: PushOptions,
  ): Promise<PushResult> {
    const paced = this.#paced(body, options);
    return await this.#underWay.add(name, pushWalFile(this.#cluster, name, paced, options));
  }

  /** As `pushLocalFile`. */
  async pushLocal(name: WalName, options: LocalPushOptions): Promise<PushResult> {
    const push = pushLocalFile(this.#cluster, name, { ...options, source: this.#source });
    return await this.#underWay.add(name, push);
  }

  /** As `fetchAfterPushes`, of those that come in here; others may push to a shared store, too. */
  async fetchAfterPushes<T>(
    name: WalName,
    fetch: () => Promise<T>,
    options: Signalled,
  ): Promise<T> {
    const pushes = () => {
      const ahead = this.#source?.lookAhead.underWay(name);
      const asked = this.#underWay.of(name);
      return ahead === undefined ? asked : [...asked, ahead];
    };
    const fetchOnce = () => fetchAfterPushes(pushes, fetch, options);
    const { store } = this.#cluster;
    if (!store.isShared) return await fetchOnce();
    const isNearEnd = () => mayBeOvertaken(this.#cluster.catalog, name);
    return await fetchNearEnd(isNearEnd, fetchOnce, { ...options, patienceMs: this.#overtakenMs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source?.lookAhead[Symbol.asyncDispose]();
  }

  #paced(body: AsyncIterable<Buffer>, options: Signalled): AsyncIterable<Buffer> {
    return this.#rate?.paced(body, options) ?? body;
  }

  #sourceOf(localWal: LocalWal): LocalSource {
    const push = (name: WalName, body: AsyncIterable<Buffer>, options: PushOptions) =>
      pushAhead(this.#cluster, name, this.#paced(body, options), options);
    return {
      localWal,
      lookAhead: new LookAhead({ localWal, push, log: this.#log }),
      pace: (body, options) => this.#paced(body, options),
    };
  }

  #rateOf(limit: PushRateLimit): PushRate {
    return new PushRate(limit, {
      backlog: () => this.#source?.lookAhead.backlog ?? 0,
      lifted: (isLifted) => {
        const what = isLifted ? "push rate lifted: far behind" : "push rate in force again";
        this.#log.info({ cluster: this.#cluster.name }, what);
      },
    });
  }
}
