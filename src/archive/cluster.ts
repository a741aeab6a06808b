/** The archive of one cluster: its binding, its catalog and what was learned while running. */
import type { Logger } from "pino";
import { WalarcError } from "../errors.ts";
import { abortable } from "../lifecycle.ts";
import type { MemoryBudget } from "../object/verify.ts";
import { DEFAULT_POLICY, type RetentionPolicy } from "../retention/policy.ts";
import { type DiscardOptions, Retention } from "../retention/retention.ts";
import type { ReportSource } from "../retention/standby.ts";
import type { Signalled, Store } from "../store/store.ts";
import { Catalog } from "../wal/catalog.ts";
import type { TimelineHistory } from "../wal/history.ts";
import type { PlacedName, WalName } from "../wal/name.ts";
import { segmentNumber } from "../wal/segment.ts";
import {
  agreeOnBinding,
  type Binding,
  isSameBinding,
  joinBindings,
  UNBOUND,
  writeBinding,
} from "./binding.ts";
import { discardWalFiles } from "./discard.ts";
import { Gate } from "./gate.ts";
import { walKey } from "./keys.ts";
import { arrivalOfLatest, loadBinding, loadCluster } from "./load.ts";
import { Others } from "./others.ts";
import { type Sizes, Totals } from "./totals.ts";

/** Pushes of one cluster that stream at once. */
const PUSHES_AT_ONCE = 6;
/** Fetches of one cluster that are being verified at once. */
const FETCHES_AT_ONCE = 8;

export interface ClusterOptions {
  readonly name: string;
  readonly store: Store;
  readonly log: Logger;
  readonly compressionLevel: number;
  readonly budget: MemoryBudget;
  /** What the pushes of all clusters pass through, one by one. */
  readonly pushesInAll: Gate;
  /** From the configuration. */
  readonly systemIdentifier: string | undefined;
  readonly policy?: RetentionPolicy | undefined;
  /** Names of the configured standbys, and how they are heard from. */
  readonly standbys?: ReadonlyMap<string, ReportSource> | undefined;
  /** Names this daemon among those that share its store. */
  readonly daemon: string;
  readonly leaseMs?: number | undefined;
}

export interface Archived {
  readonly metadata: { readonly archivedAt: string; readonly sizeBytes: number };
  readonly history: TimelineHistory | undefined;
  readonly storedBytes: number;
  /** It took the place of a damaged object, which was counted already. */
  readonly isRepair: boolean;
}

export class ClusterArchive {
  readonly name: string;
  readonly store: Store;
  readonly log: Logger;
  readonly compressionLevel: number;
  readonly budget: MemoryBudget;
  readonly pushesInAll: Gate;
  readonly pushes = new Gate(PUSHES_AT_ONCE);
  readonly fetches = new Gate(FETCHES_AT_ONCE);
  readonly totals: Totals;
  readonly others: Others;
  readonly retention: Retention;
  /** Names whose object was found damaged and not seen whole since. */
  readonly damaged = new Set<string>();
  /** Names that were archived and whose object vanished while we ran. */
  readonly lost = new Set<string>();
  /** Second contents refused since the start. */
  conflicts = 0;
  pushesUnderWay = 0;
  /** Arrival of the newest archived segment, ISO 8601. */
  latestArrival: string | undefined;

  /** What the store says. */
  #stored: Binding = UNBOUND;
  /** That and the configuration together. */
  #binding: Binding;
  #catalog = new Catalog();
  /** The segment whose arrival `latestArrival` is. */
  #latest: string | undefined;
  #loading: Promise<void> | undefined;
  #isLoaded = false;
  #bindingTurn: Promise<unknown> = Promise.resolve();

  constructor(options: ClusterOptions) {
    this.name = options.name;
    this.store = options.store;
    this.log = options.log;
    this.compressionLevel = options.compressionLevel;
    this.budget = options.budget;
    this.pushesInAll = options.pushesInAll;
    this.#binding = { ...UNBOUND, systemIdentifier: options.systemIdentifier };
    this.totals = new Totals(this);
    this.others = new Others(this);
    const { policy = DEFAULT_POLICY, standbys = new Map<string, ReportSource>() } = options;
    const { daemon, leaseMs } = options;
    this.retention = new Retention(this, { policy, standbys, daemon, leaseMs });
  }

  get binding(): Binding {
    return this.#binding;
  }

  get catalog(): Catalog {
    return this.#catalog;
  }

  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** Nothing was ever archived or bound here. */
  get isEmpty(): boolean {
    return this.#catalog.files === 0 && isSameBinding(this.#stored, UNBOUND);
  }

  /**
   * Resolves when the catalog is complete. A failed load is tried again by the next caller, so a
   * store that was away at the start needs no restart.
   */
  async loaded(options: Signalled): Promise<void> {
    if (this.#isLoaded) return;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    await abortable(this.#loading, options.signal);
  }

  async #load(): Promise<void> {
    const signal = AbortSignal.timeout(LOAD_DEADLINE_MS);
    const found = await loadCluster(this, { signal });
    this.#binding = joinBindings(found.binding, this.#binding, this.name);
    this.#stored = found.storedBinding;
    this.#catalog = found.catalog;
    this.#latest = found.catalog.latest();
    this.latestArrival = found.latestArrival;
    for (const name of found.damaged) this.damaged.add(name);
    this.#isLoaded = true;
    this.totals.startCounting();
    void this.#loadClaims();
  }

  /** At once, so that from now on arrivals are timed; no push waits for it, or fails with it. */
  async #loadClaims(): Promise<void> {
    try {
      await this.retention.register.load({ signal: AbortSignal.timeout(LOAD_DEADLINE_MS) });
    } catch (error) {
      this.log.warn({ cluster: this.name, err: error }, "claims not read yet");
    }
  }

  /**
   * Binds what is not bound yet, durably. Rejects with `rejected` when another push has meanwhile
   * bound the cluster to another identity.
   */
  async bind(found: Binding, options: Signalled): Promise<void> {
    const turn = this.#bindingTurn.then(async () => {
      const joined = joinBindings(this.#binding, found, this.name);
      if (isSameBinding(joined, this.#stored)) return;
      const { signal } = options;
      const bind = this.store.isShared ? agreeOnBinding : writeBinding;
      const agreed = await bind(this.store, this.name, { binding: joined, signal });
      this.#bound(agreed);
      this.log.info({ cluster: this.name, ...agreed }, "cluster bound");
    });
    this.#bindingTurn = turn.catch(() => {});
    await turn;
  }

  #bound(binding: Binding): void {
    this.#stored = binding;
    this.#binding = binding;
    if (binding.segmentSizeBytes !== undefined) {
      this.#catalog.bindSegmentSize(binding.segmentSizeBytes);
    }
  }

  /** Learns what another daemon has bound the cluster to. */
  async relearnBinding(options: Signalled): Promise<void> {
    const { binding } = await loadBinding(this, options);
    const turn = this.#bindingTurn.then(() => {
      this.#bound(joinBindings(binding, this.#binding, this.name));
    });
    this.#bindingTurn = turn.catch(() => {});
    await turn;
  }

  /** Learns when the newest segment arrived, where another daemon has archived it. */
  async relearnLatest(options: Signalled): Promise<void> {
    const latest = this.#catalog.latest();
    if (latest === this.#latest) return;
    const arrival = await arrivalOfLatest(this, this.#catalog, options);
    if (this.#catalog.latest() !== latest) return;
    this.#latest = latest;
    this.latestArrival = arrival;
  }

  /** Notes a WAL file that another daemon has archived. */
  learned(name: WalName, found: { sizes: Sizes; history: TimelineHistory | undefined }): void {
    this.#catalog.add(name);
    if (found.history !== undefined) this.#catalog.addHistory(found.history);
    this.lost.delete(name.text);
    this.totals.add(walKey(this.name, name), found.sizes);
  }

  /** Learns what other daemons have archived last. */
  async relearnEnds(options: Signalled): Promise<void> {
    await this.others.relearnEnds(options);
  }

  /** Learns what other daemons have archived and removed, up to a position. */
  async relearn(upTo: string, options: Signalled): Promise<void> {
    await this.others.relearn(upTo, options);
  }

  /** Notes a WAL file that has just become durable. */
  archived(name: WalName, archived: Archived): void {
    this.#add(name, archived.history);
    const { archivedAt, sizeBytes } = archived.metadata;
    if (this.#catalog.latest() === name.text) {
      this.#latest = name.text;
      this.latestArrival = archivedAt;
    }
    const number = this.#numberOf(name);
    if (number !== undefined) this.retention.register.arrived(number);
    if (!archived.isRepair) {
      this.totals.add(walKey(this.name, name), {
        plainBytes: sizeBytes,
        storedBytes: archived.storedBytes,
      });
    }
  }

  #numberOf(name: WalName): number | undefined {
    if (name.kind !== "segment") return undefined;
    return segmentNumber(name, this.#catalog.segmentSizeBytes ?? 0);
  }

  /** Removes WAL files that nobody needs, as `discardWalFiles` does. */
  async discard(names: readonly PlacedName[], options: DiscardOptions): Promise<void> {
    await discardWalFiles(this, names, options);
  }

  /** Notes a WAL file that proved to be stored whole. */
  seen(name: WalName, history: TimelineHistory | undefined): void {
    const number = this.#catalog.holds(name) ? undefined : this.#numberOf(name);
    this.#add(name, history);
    if (number !== undefined) this.retention.register.arrivedElsewhere(number, number);
  }

  #add(name: WalName, history: TimelineHistory | undefined): void {
    this.others.touch(name);
    this.#catalog.add(name);
    if (history !== undefined) this.#catalog.addHistory(history);
    this.damaged.delete(name.text);
    this.lost.delete(name.text);
  }

  /** Ends what runs in the background and writes down what only memory knows. */
  async stop(): Promise<void> {
    await this.totals.stop();
    if (!this.#isLoaded || this.isEmpty) return;
    try {
      const signal = AbortSignal.timeout(STOP_MS_MAX);
      await this.retention.register.save({ signal, atOnce: true });
    } catch (error) {
      this.log.warn({ cluster: this.name, err: error }, "time of service not written down");
    }
  }

  reportDamage(name: WalName, error: WalarcError): void {
    if (this.damaged.has(name.text)) return;
    this.damaged.add(name.text);
    this.log.error({ cluster: this.name, wal: name.text, err: error }, "damaged object found");
  }

  reportLoss(name: WalName): void {
    this.lost.add(name.text);
    this.#catalog.remove(name);
    this.log.error({ cluster: this.name, wal: name.text }, "archived object is gone");
  }
}

/** A store that hangs does not keep the daemon from stopping for longer. */
const STOP_MS_MAX = 2000;

/** A million names take seconds; a load that takes longer than this is a store that hangs. */
const LOAD_DEADLINE_MS = 600_000;
