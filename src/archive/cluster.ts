/** The archive of one cluster: its binding, its catalog and what was learned while running. */
import type { Logger } from "pino";
import { WalarcError } from "../errors.ts";
import type { MemoryBudget } from "../object/verify.ts";
import type { Signalled, Store } from "../store/store.ts";
import { Catalog } from "../wal/catalog.ts";
import type { TimelineHistory } from "../wal/history.ts";
import type { WalName } from "../wal/name.ts";
import { type Binding, isSameBinding, joinBindings, UNBOUND, writeBinding } from "./binding.ts";
import { Gate } from "./gate.ts";
import { walKey } from "./keys.ts";
import { loadCluster } from "./load.ts";
import { Totals } from "./totals.ts";

/** Pushes of one cluster that stream at once; each holds about 5 MB. */
const PUSHES_AT_ONCE = 8;
/** Fetches of one cluster that are being verified at once. */
const FETCHES_AT_ONCE = 8;

export interface ClusterOptions {
  readonly name: string;
  readonly store: Store;
  readonly log: Logger;
  readonly compressionLevel: number;
  readonly budget: MemoryBudget;
  /** From the configuration. */
  readonly systemIdentifier: string | undefined;
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
  readonly pushes = new Gate(PUSHES_AT_ONCE);
  readonly fetches = new Gate(FETCHES_AT_ONCE);
  readonly totals: Totals;
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
  #loading: Promise<void> | undefined;
  #isLoaded = false;
  #bindingTurn: Promise<unknown> = Promise.resolve();

  constructor(options: ClusterOptions) {
    this.name = options.name;
    this.store = options.store;
    this.log = options.log;
    this.compressionLevel = options.compressionLevel;
    this.budget = options.budget;
    this.#binding = { ...UNBOUND, systemIdentifier: options.systemIdentifier };
    this.totals = new Totals(this);
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
    this.latestArrival = found.latestArrival;
    for (const name of found.damaged) this.damaged.add(name);
    this.#isLoaded = true;
    this.totals.startCounting();
  }

  /**
   * Binds what is not bound yet, durably. Rejects with `rejected` when another push has meanwhile
   * bound the cluster to another identity.
   */
  async bind(found: Binding, options: Signalled): Promise<void> {
    const turn = this.#bindingTurn.then(async () => {
      const joined = joinBindings(this.#binding, found, this.name);
      if (isSameBinding(joined, this.#stored)) return;
      await writeBinding(this.store, this.name, { binding: joined, signal: options.signal });
      this.#stored = joined;
      this.#binding = joined;
      if (joined.segmentSizeBytes !== undefined) {
        this.#catalog.bindSegmentSize(joined.segmentSizeBytes);
      }
      this.log.info({ cluster: this.name, ...joined }, "cluster bound");
    });
    this.#bindingTurn = turn.catch(() => {});
    await turn;
  }

  /** Notes a WAL file that has just become durable. */
  archived(name: WalName, archived: Archived): void {
    this.seen(name, archived.history);
    const { archivedAt, sizeBytes } = archived.metadata;
    if (this.#catalog.latest() === name.text) this.latestArrival = archivedAt;
    if (!archived.isRepair) {
      this.totals.add(walKey(this.name, name), {
        plainBytes: sizeBytes,
        storedBytes: archived.storedBytes,
      });
    }
  }

  /** Notes a WAL file that proved to be stored whole. */
  seen(name: WalName, history: TimelineHistory | undefined): void {
    this.#catalog.add(name);
    if (history !== undefined) this.#catalog.addHistory(history);
    this.damaged.delete(name.text);
    this.lost.delete(name.text);
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

/** A million names take seconds; a load that takes longer than this is a store that hangs. */
const LOAD_DEADLINE_MS = 600_000;

async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
