/** Where the time of service is written down: one object, or one per daemon of a shared store. */
import { isFailure } from "../errors.ts";
import type { ArrivalEntry } from "../wal/arrivals.ts";
import type { Signalled, Store } from "../store/store.ts";
import { serviceKey, servicesPrefix, stateKey } from "./keys.ts";
import { parseService, type ServiceRecord, serviceFields } from "./service-record.ts";
import { readState, writeState } from "./state-object.ts";

export interface ServiceOwner {
  readonly name: string;
  readonly store: Pick<Store, "isShared" | "open" | "list" | "replace" | "remove">;
}

export interface FoundService extends ServiceRecord {
  /** The time of service when the record that knows the newest segment was written down. */
  readonly savedMs: number;
  /** Objects that could not be understood. */
  readonly damaged: readonly string[];
}

/**
 * Daemons that share a store write an object each, so none can undo what another has noted. What is
 * read of several is joined so that it keeps rather too much than too little.
 */
export class ServiceState {
  readonly #owner: ServiceOwner;
  readonly #key: string;
  /** Objects of others that were read, and whose content goes on in ours. */
  #taken: string[] = [];

  constructor(owner: ServiceOwner, options: { daemon: string }) {
    this.#owner = owner;
    const { name, store } = owner;
    this.#key = store.isShared ? stateKey(servicesPrefix(name), options.daemon) : serviceKey(name);
  }

  /** Rejects with `store-failed`. */
  async read(options: Signalled): Promise<FoundService> {
    const records: ServiceRecord[] = [];
    const damaged: string[] = [];
    const keys = await this.#keys(options);
    for (const key of keys) {
      try {
        const reading = { ...options, parse: parseService };
        const record = await readState(this.#owner.store, key, reading);
        if (record !== undefined) records.push(record);
      } catch (error) {
        if (!isFailure(error, "corrupt")) throw error;
        damaged.push(key);
      }
    }
    this.#taken = keys.filter((key) => key !== this.#key && !damaged.includes(key));
    return { ...joined(records), damaged };
  }

  /** How long the archive was served, by whoever counted furthest. */
  async servedMs(options: Signalled): Promise<number> {
    const taken = this.#taken;
    const { servedMs } = await this.read(options);
    this.#taken = taken; // Of the arrivals, nothing was taken over.
    return servedMs;
  }

  /** Durable when it resolves. */
  async write(record: ServiceRecord, options: Signalled): Promise<void> {
    const { store } = this.#owner;
    await writeState(store, this.#key, { ...options, fields: serviceFields(record) });
    for (const key of this.#taken) await store.remove(key, options);
    this.#taken = [];
  }

  async #keys(options: Signalled): Promise<string[]> {
    const { name, store } = this.#owner;
    if (!store.isShared) return [this.#key];
    // That of a time when the store had one daemon.
    const keys = [serviceKey(name)];
    for await (const { key } of store.list(servicesPrefix(name), options)) keys.push(key);
    return keys;
  }
}

function joined(records: readonly ServiceRecord[]): Omit<FoundService, "damaged"> {
  const servedMs = Math.max(0, ...records.map((record) => record.servedMs));
  const prunedMs = Math.max(0, ...records.map((record) => record.prunedMs));
  const entries = records.flatMap((record) => {
    // Whoever has counted less may mean a later time than it says.
    const behindMs = servedMs - record.servedMs;
    return record.arrivals.entries.map((entry) => ({ ...entry, atMs: entry.atMs + behindMs }));
  });
  const [furthest] = records.toSorted(byNewest);
  return {
    servedMs,
    prunedMs,
    savedMs: furthest?.servedMs ?? 0,
    arrivals: { newest: furthest?.arrivals.newest, entries: entries.sort(byTime) },
  };
}

/** The highest number first, and of those the earliest time. */
function byNewest(one: ServiceRecord, other: ServiceRecord): number {
  const [a, b] = [one.arrivals.newest, other.arrivals.newest];
  return (b?.number ?? -1) - (a?.number ?? -1) || (a?.atMs ?? 0) - (b?.atMs ?? 0);
}

function byTime(one: ArrivalEntry, other: ArrivalEntry): number {
  return one.atMs - other.atMs;
}
