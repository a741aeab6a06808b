/**
 * The right to remove, where several daemons use one store: objects `lease/{epoch}.json`, of which
 * the newest counts. An epoch is created once and by one of them, so there is one holder at a time.
 *
 * A holder that sleeps and wakes does not know yet that it lost the lease, so it is not what makes
 * removal safe. That is the mark: before a batch the holder writes down how far it removes, and
 * reads the claims after that. Whoever makes a claim writes it down, and reads the mark after that.
 * So either the batch spares what is claimed, or the claimant learns that it came too late.
 */
import type { Logger } from "pino";
import { isFailure } from "../errors.ts";
import type { Signalled, Store } from "../store/store.ts";
import { leasePrefix } from "./keys.ts";
import {
  epochAt,
  highest,
  type LeaseRecord,
  leaseFields,
  leaseKey,
  type Marks,
  NO_MARKS,
  parseLease,
  withMarks,
} from "./lease-record.ts";
import { createState, readState, writeState } from "./state-object.ts";

/** What a lease needs of a cluster's archive. */
export interface LeaseOwner {
  readonly name: string;
  readonly store: Pick<Store, "open" | "list" | "stage" | "replace" | "remove">;
  readonly log: Logger;
}

export interface LeaseOptions {
  /** This daemon, for others and for people; nobody else is called so, nor it after a restart. */
  readonly holder: string;
  /** A lease that has not moved for so long is another's to take. */
  readonly leaseMs: number;
  /** Milliseconds that never go back, from anywhere. */
  readonly clock: () => number;
}

interface Found {
  readonly epoch: number;
  /** `undefined` when it cannot be understood. */
  readonly record: LeaseRecord | undefined;
}

export class Lease {
  readonly #owner: LeaseOwner;
  readonly #options: LeaseOptions;
  #known: Marks = NO_MARKS;
  /** What this daemon has put down in the epoch that it holds. */
  #held: { epoch: number; record: LeaseRecord; inherited: string | undefined } | undefined;
  /** Another's lease, and since when it has been seen like this. */
  #watched: { state: string; sinceMs: number } | undefined;

  constructor(owner: LeaseOwner, options: LeaseOptions) {
    this.#owner = owner;
    this.#options = options;
  }

  /** How far was removed, as last read or written. */
  get known(): Marks {
    return this.#known;
  }

  /** How far was removed by anybody, and how far a removal may be under way. */
  async read(options: Signalled): Promise<Marks> {
    this.#known = marksOf(await this.#find(options));
    return this.#known;
  }

  /**
   * Resolves to `undefined` once the lease is ours, or to who else has it. It is taken from another
   * only after this very process has seen it not move for the time of a lease.
   */
  async take(options: Signalled): Promise<string | undefined> {
    const found = await this.#find(options);
    const newest = found.at(-1);
    if (newest !== undefined && !this.#isFree(newest)) return holderOf(newest);
    const epoch = (newest?.epoch ?? 0) + 1;
    const { holder } = this.#options;
    const record = { holder, isHeld: true, beat: 0, ...marksOf(found) };
    const key = leaseKey(this.#owner.name, epoch);
    const fields = leaseFields(record);
    if ((await createState(this.#owner.store, key, { ...options, fields })) === "exists") {
      return "another daemon";
    }
    this.#watched = undefined;
    this.#held = { epoch, record, inherited: record.removingUpTo };
    await this.#inherit(options);
    return undefined;
  }

  /**
   * Writes down that everything up to a position may be gone from now on. Resolves to whether the
   * lease is still ours; where it is not, nothing may be removed.
   */
  async announce(upTo: string, options: Signalled): Promise<boolean> {
    if (this.#held === undefined) return false;
    const { epoch, inherited, record } = this.#held;
    await this.#write({ ...record, removingUpTo: highest(inherited, upTo) }, options);
    const epochs = await this.#epochs(options);
    if (epochs.at(-1) === epoch) {
      await this.#tidy(epochs.slice(0, -1), options);
      return true;
    }
    await this.#write({ ...record, isHeld: false, removingUpTo: inherited }, options);
    this.#held = undefined;
    this.#log("lease lost to another daemon", { epoch });
    return false;
  }

  /**
   * Takes note that no removal of what was announced is under way any more, and how far it went.
   */
  settle(removedUpTo: string | undefined): void {
    if (this.#held === undefined) return;
    const { record, inherited } = this.#held;
    const prunedUpTo = highest(record.prunedUpTo, removedUpTo);
    // What an earlier holder had begun to remove, only a removal of all of it can end.
    const isEnded = inherited === undefined || (removedUpTo ?? "") >= inherited;
    const left = isEnded ? undefined : inherited;
    this.#held = {
      ...this.#held,
      inherited: left,
      record: { ...record, prunedUpTo, removingUpTo: left },
    };
  }

  /**
   * Lets the lease go. What was announced and not confirmed stays announced: it may still be being
   * removed, and the next holder finds it.
   */
  async release(options: Signalled): Promise<void> {
    if (this.#held === undefined) return;
    const { record } = this.#held;
    try {
      await this.#write({ ...record, isHeld: false }, options);
    } finally {
      this.#held = undefined;
    }
  }

  /** Whether the newest lease is nobody's any more; watches it where it is another's. */
  #isFree({ epoch, record }: Found): boolean {
    if (record !== undefined && (!record.isHeld || record.holder === this.#options.holder)) {
      return true;
    }
    const state = `${epoch} ${record?.holder} ${record?.beat}`;
    const nowMs = this.#options.clock();
    if (this.#watched?.state !== state) this.#watched = { state, sinceMs: nowMs };
    if (nowMs - this.#watched.sinceMs < this.#options.leaseMs) return false;
    this.#log("lease of a silent daemon taken over", { epoch, holder: record?.holder });
    return true;
  }

  /** Nobody announces in an older epoch any more, so what stands there now is all of it. */
  async #inherit(options: Signalled): Promise<void> {
    if (this.#held === undefined) return;
    const { epoch, record } = this.#held;
    const older = (await this.#find(options)).filter((found) => found.epoch < epoch);
    const marks = marksOf(older);
    const complete = withMarks(record, marks);
    this.#held = { epoch, record: complete, inherited: complete.removingUpTo };
    const isNews =
      complete.removingUpTo !== record.removingUpTo || complete.prunedUpTo !== record.prunedUpTo;
    if (isNews) await this.#write(complete, options);
    await this.#tidy(
      older.map((found) => found.epoch),
      options,
    );
  }

  async #write(record: LeaseRecord, options: Signalled): Promise<void> {
    if (this.#held === undefined) return;
    const { epoch } = this.#held;
    const next = { ...record, beat: this.#held.record.beat + 1 };
    // Even if it fails, it may have been written.
    this.#held = { ...this.#held, record: next };
    const { name, store } = this.#owner;
    await writeState(store, leaseKey(name, epoch), { ...options, fields: leaseFields(next) });
    this.#known = next;
  }

  async #tidy(epochs: readonly number[], options: Signalled): Promise<void> {
    for (const epoch of epochs) {
      await this.#owner.store.remove(leaseKey(this.#owner.name, epoch), options);
    }
  }

  /** Ascending. */
  async #epochs(options: Signalled): Promise<number[]> {
    const { name, store } = this.#owner;
    const epochs: number[] = [];
    for await (const { key } of store.list(leasePrefix(name), options)) {
      const epoch = epochAt(name, key);
      if (epoch !== undefined) epochs.push(epoch);
    }
    return epochs.sort((a, b) => a - b);
  }

  /** All epochs that stand in the store, ascending. */
  async #find(options: Signalled): Promise<Found[]> {
    const { name, store } = this.#owner;
    const found: Found[] = [];
    for (const epoch of await this.#epochs(options)) {
      try {
        const reading = { ...options, parse: parseLease };
        const record = await readState(store, leaseKey(name, epoch), reading);
        if (record !== undefined) found.push({ epoch, record });
      } catch (error) {
        if (!isFailure(error, "corrupt")) throw error;
        found.push({ epoch, record: undefined });
      }
    }
    return found;
  }

  #log(message: string, fields: object): void {
    this.#owner.log.warn({ cluster: this.#owner.name, ...fields }, message);
  }
}

function marksOf(found: readonly Found[]): Marks {
  let marks = NO_MARKS;
  for (const { record } of found) if (record !== undefined) marks = withMarks(marks, record);
  return marks;
}

function holderOf({ record }: Found): string {
  return record?.holder ?? "somebody whose lease cannot be understood";
}
