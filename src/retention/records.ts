/** The claims of one cluster as the store has them, and in memory as they were last read. */
import type { Logger } from "pino";
import type { Signalled, Store } from "../store/store.ts";
import {
  type Arrivals,
  NO_ARRIVALS,
  withArrival,
  withArrivals,
  withoutPruned,
} from "../wal/arrivals.ts";
import type { Catalog } from "../wal/catalog.ts";
import { endsOf } from "../wal/window.ts";
import { type HoldRecord, holdFields, parseHold } from "./hold.ts";
import { holdsPrefix, standbysPrefix, stateKey } from "./keys.ts";
import { Listening } from "./listening.ts";
import { ServiceState } from "./service-state.ts";
import type { ServiceTime } from "./service-time.ts";
import { parseStandby, type StandbyRecord, standbyFields } from "./standby.ts";
import { readStates, writeState } from "./state-object.ts";

/** What retention needs of a cluster's archive. */
export interface RecordsOwner {
  readonly name: string;
  readonly store: Pick<Store, "isShared" | "open" | "list" | "stage" | "replace" | "remove">;
  readonly log: Logger;
  readonly catalog: Catalog;
  /**
   * Learns what other daemons have archived and removed, up to a position of sixteen hex digits.
   */
  relearn(upTo: string, options: Signalled): Promise<void>;
  /** The same for what they have archived last. */
  relearnEnds(options: Signalled): Promise<void>;
}

/** The time of service is written down no more often than this: a crash forgets as much of it. */
const SAVE_MS_MIN = 60_000;

/**
 * The store is the only state: another daemon may have written to it, so what is decided on is read
 * anew each time. What is only shown comes from memory. Writes change the store first.
 */
export class Records {
  readonly #owner: RecordsOwner;
  readonly #time: ServiceTime;
  readonly #service: ServiceState;
  readonly #listening: Listening;
  #standbys = new Map<string, StandbyRecord | "damaged">();
  #holds = new Map<string, HoldRecord | "damaged">();
  #arrivals: Arrivals = NO_ARRIVALS;
  #hasRead = false;
  #savedMs = 0;
  /** When the last prune ended, in the time of service. */
  prunedMs = 0;

  constructor(owner: RecordsOwner, options: { time: ServiceTime; daemon: string }) {
    this.#owner = owner;
    this.#time = options.time;
    this.#service = new ServiceState(owner, options);
    this.#listening = new Listening(options.time);
  }

  /** Since when this very process has heard nothing new of the standbys. */
  get listening(): Listening {
    return this.#listening;
  }

  /** Whether the maps below show the store, as it was at some time. */
  get hasRead(): boolean {
    return this.#hasRead;
  }

  get standbys(): ReadonlyMap<string, StandbyRecord | "damaged"> {
    return this.#standbys;
  }

  get holds(): ReadonlyMap<string, HoldRecord | "damaged"> {
    return this.#holds;
  }

  get arrivals(): Arrivals {
    return this.#arrivals;
  }

  /** Rejects with `store-failed`. What is there and cannot be understood is `"damaged"`. */
  async read(options: Signalled): Promise<void> {
    const { store, name } = this.#owner;
    const standbys = { ...options, parse: parseStandby };
    this.#standbys = await readStates(store, standbysPrefix(name), standbys);
    this.#holds = await readStates(store, holdsPrefix(name), { ...options, parse: parseHold });
    if (!this.#hasRead) await this.#readService(options);
    this.#hasRead = true;
    this.#listening.saw(this.#standbys);
    for (const record of [...this.#standbys.values(), ...this.#holds.values()]) {
      if (record === "damaged") continue;
      this.#time.goOnFrom("heardMs" in record ? record.heardMs : record.putMs);
    }
    this.#noticeUnseen();
  }

  async putStandby(name: string, record: StandbyRecord, options: Signalled): Promise<void> {
    const key = stateKey(standbysPrefix(this.#owner.name), name);
    await writeState(this.#owner.store, key, { ...options, fields: standbyFields(record) });
    this.#standbys.set(name, record);
    this.#listening.heard(name, record);
  }

  async removeStandby(name: string, options: Signalled): Promise<void> {
    await this.#owner.store.remove(stateKey(standbysPrefix(this.#owner.name), name), options);
    this.#standbys.delete(name);
  }

  async putHold(name: string, record: HoldRecord, options: Signalled): Promise<void> {
    const key = stateKey(holdsPrefix(this.#owner.name), name);
    await writeState(this.#owner.store, key, { ...options, fields: holdFields(record) });
    this.#holds.set(name, record);
  }

  async removeHold(name: string, options: Signalled): Promise<void> {
    await this.#owner.store.remove(stateKey(holdsPrefix(this.#owner.name), name), options);
    this.#holds.delete(name);
  }

  /** Notes that a segment has just been archived. */
  arrived(number: number): void {
    // Before the first read it is one of those that nobody saw arrive.
    if (this.#hasRead) this.#arrivals = withArrival(this.#arrivals, number, this.#time.now());
  }

  /** Notes segments that another daemon has archived since we last wrote down what is there. */
  arrivedElsewhere(lowest: number, highest: number): void {
    if (!this.#hasRead) return;
    const nowMs = this.#time.now();
    const sinceMs = Math.min(this.#savedMs, nowMs);
    this.#arrivals = withArrivals(this.#arrivals, { lowest, highest, sinceMs, nowMs });
  }

  /** Learns how far the other daemons have counted; nothing to learn where there are none. */
  async agreeOnTime(options: Signalled): Promise<void> {
    if (this.#owner.store.isShared) this.#time.goOnFrom(await this.#service.servedMs(options));
  }

  /** Writes down how long the archive was served and what arrived when, unless it just has. */
  async saveService(options: Signalled & { atOnce?: true }): Promise<void> {
    const servedMs = this.#time.now();
    const ends = endsOf(this.#owner.catalog);
    if (!this.#hasRead || ends === undefined) return;
    if (options.atOnce !== true && servedMs - this.#savedMs < SAVE_MS_MIN) return;
    this.#arrivals = withoutPruned(this.#arrivals, ends.oldest);
    const record = { servedMs, prunedMs: this.prunedMs, arrivals: this.#arrivals };
    await this.#service.write(record, options);
    this.#savedMs = servedMs;
  }

  async #readService(options: Signalled): Promise<void> {
    const found = await this.#service.read(options);
    for (const key of found.damaged) {
      // Nothing is lost but time: all that is archived counts as having arrived just now.
      const fields = { cluster: this.#owner.name, key };
      this.#owner.log.warn(fields, "time of service counted anew");
    }
    this.#time.goOnFrom(found.servedMs);
    this.#savedMs = found.savedMs;
    this.prunedMs = found.prunedMs;
    this.#arrivals = found.arrivals;
  }

  /**
   * What was archived without having been seen to arrive: before a crash, or by another daemon. It
   * came after the last time that was written down, and no later than now.
   */
  #noticeUnseen(): void {
    const ends = endsOf(this.#owner.catalog);
    const seen = this.#arrivals.newest?.number;
    if (ends === undefined || (seen !== undefined && seen >= ends.newest)) return;
    const nowMs = this.#time.now();
    this.#arrivals = withArrivals(this.#arrivals, {
      lowest: seen === undefined ? ends.oldest : seen + 1,
      highest: ends.newest,
      sinceMs: seen === undefined ? nowMs : Math.min(this.#savedMs, nowMs),
      nowMs,
    });
  }
}
