/** Retention of one cluster: knowing who needs which WAL, and removing what nobody needs. */
import type { Signalled } from "../store/store.ts";
import type { PlacedName } from "../wal/name.ts";
import { planRetention, removableSegments, type RetentionPlan } from "../wal/retention.ts";
import { type Claimants, claimsOf, standbysOf } from "./claims.ts";
import { explain } from "./overview.ts";
import { carryOut } from "./prune.ts";
import type { RecordsOwner } from "./records.ts";
import { Register, type RegisterOptions } from "./register.ts";

/** What retention needs of a cluster's archive. */
export interface RetainedArchive extends RecordsOwner {
  /**
   * Removes WAL files from the store, the catalog and all sums. A fetch that has opened one before
   * reads it to its end. Rejects with `store-failed` with some of them removed.
   */
  discard(names: readonly PlacedName[], options: Signalled): Promise<void>;
}

export class Retention {
  readonly register: Register;
  #prunedSegments = 0;
  readonly #archive: RetainedArchive;
  readonly #options: RegisterOptions;
  #pruning: Promise<unknown> = Promise.resolve();
  /** The stale standbys, and whether their claims still count. */
  readonly #stale = new Map<string, "holding" | "released">();

  constructor(archive: RetainedArchive, options: RegisterOptions) {
    this.#archive = archive;
    this.#options = options;
    this.register = new Register(archive, options);
  }

  get intervalMs(): number {
    return this.#options.policy.intervalMs;
  }

  /** Segments removed since this was asked before; for a counter. */
  takePrunedSegments(): number {
    const segments = this.#prunedSegments;
    this.#prunedSegments = 0;
    return segments;
  }

  /** What a prune would remove now, by the claims that the store has now. */
  async plan(options: Signalled): Promise<RetentionPlan> {
    return this.register.decide(planOf, options);
  }

  /**
   * Removes what nobody claims, oldest first, and resolves to what it removed. One prune of a
   * cluster at a time, also among daemons: a disk store is locked by its only one.
   */
  async prune(options: Signalled): Promise<RetentionPlan> {
    const prune = this.#pruning.then(() => this.#prune(options));
    this.#pruning = prune.catch(() => {});
    return prune;
  }

  /** In one line: what holds a plan back. */
  explain(plan: RetentionPlan): string {
    const { known } = this.register;
    return known === undefined ? "" : explain(plan, known);
  }

  /**
   * What has to be done from time to time: a prune once per interval, the rest each time. A restart
   * does not begin the interval anew.
   */
  async step(options: Signalled): Promise<void> {
    await this.register.tidy(options);
    this.#reportStale(await this.register.load(options));
    if (this.register.sincePruneMs >= this.intervalMs) await this.prune(options);
    await this.register.save(options);
  }

  async #prune(options: Signalled): Promise<RetentionPlan> {
    const removed = await carryOut(await this.plan(options), {
      signal: options.signal,
      withHorizon: (remove) => {
        return this.register.decide((claimants) => remove(planOf(claimants).horizon), options);
      },
      discard: async (names) => {
        await this.#archive.discard(names, options);
        this.#prunedSegments += names.filter(({ kind }) => kind === "segment").length;
      },
    });
    this.register.pruned();
    this.#logPruned(removed);
    return removed;
  }

  #logPruned(removed: RetentionPlan): void {
    const [segments, others] = [removableSegments(removed), removed.others.length];
    if (segments + others === 0) return;
    const { name, log } = this.#archive;
    const heldBy = removed.heldBy.map(({ kind, name }) => `${kind} ${name}`);
    const horizon = removed.horizon?.text;
    log.info({ cluster: name, segments, others, horizon, heldBy }, "pruned");
  }

  /** Says once when a standby falls silent, when that ends its claim, and when it is back. */
  #reportStale(claimants: Claimants): void {
    const { log, name: cluster } = this.#archive;
    const now = new Map(standbysOf(claimants).map((standby) => [standby.name, standby]));
    for (const { name, stale, released } of now.values()) {
      if (!stale) continue;
      const state = released ? "released" : "holding";
      if (this.#stale.get(name) === state) continue;
      this.#stale.set(name, state);
      const message = released ? "stale standby no longer holds WAL" : "standby is stale";
      log.warn({ cluster, standby: name }, message);
    }
    for (const name of this.#stale.keys()) {
      if (now.get(name)?.stale === true) continue;
      this.#stale.delete(name);
      log.info({ cluster, standby: name }, "standby is not stale any more");
    }
  }
}

function planOf(claimants: Claimants): RetentionPlan {
  return planRetention(claimants.catalog, claimsOf(claimants));
}
