/** Retention of one cluster: knowing who needs which WAL, and removing what nobody needs. */
import { setTimeout as delay } from "node:timers/promises";
import type { Signalled } from "../store/store.ts";
import type { PlacedName } from "../wal/name.ts";
import {
  planRetention,
  removableFiles,
  removableSegments,
  type RetentionPlan,
} from "../wal/retention.ts";
import { type Claimants, claimsOf, standbysOf } from "./claims.ts";
import { explain } from "./overview.ts";
import { carryOut } from "./prune.ts";
import { Lease } from "./lease.ts";
import type { Marks } from "./lease-record.ts";
import type { RecordsOwner } from "./records.ts";
import { Register, type RegisterOptions } from "./register.ts";

/** What retention needs of a cluster's archive. */
export interface RetainedArchive extends RecordsOwner {
  /**
   * Removes WAL files from the store, the catalog and all sums. A fetch that has opened one before
   * reads it to its end. Rejects with `store-failed` with some of them removed; `gone` is called
   * with those that are, also then.
   */
  discard(names: readonly PlacedName[], options: DiscardOptions): Promise<void>;
}

export interface DiscardOptions extends Signalled {
  readonly gone: (names: readonly PlacedName[]) => void;
}

export interface RetentionOptions extends RegisterOptions {
  /** So long another daemon's lease has to stand still before it is taken over. */
  readonly leaseMs?: number | undefined;
}

/** Long enough for a slow batch; a shorter one would only make two daemons do the same work. */
const LEASE_MS = 60_000;
/** So often a prune looks whether another daemon's has ended. */
const LEASE_LOOK_MS = 500;
/** A store that hangs does not keep a prune from ending for longer. */
const RELEASE_MS_MAX = 10_000;

export class Retention {
  readonly register: Register;
  #prunedSegments = 0;
  readonly #archive: RetainedArchive;
  readonly #options: RetentionOptions;
  /** Where other daemons may remove WAL, too. */
  readonly #lease: Lease | undefined;
  readonly #leaseMs: number;
  #pruning: Promise<unknown> = Promise.resolve();
  /** The daemon that was last found pruning instead of us. */
  #holder: string | undefined;
  /** The stale standbys, and whether their claims still count. */
  readonly #stale = new Map<string, "holding" | "released">();

  constructor(archive: RetainedArchive, options: RetentionOptions) {
    this.#archive = archive;
    this.#options = options;
    const { daemon: holder, leaseMs = LEASE_MS } = options;
    this.#leaseMs = leaseMs;
    const leasing = { holder, leaseMs, clock: () => performance.now() };
    this.#lease = archive.store.isShared ? new Lease(archive, leasing) : undefined;
    this.register = new Register(archive, { ...options, lease: this.#lease });
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
    const plan = await this.register.decide(planOf, options);
    if (this.#lease === undefined || plan.horizon === undefined) return plan;
    // Other daemons may have archived and removed what ours does not know of yet.
    await this.#archive.relearn(plan.horizon.position, options);
    return this.register.decide(planOf, options);
  }

  /**
   * Removes what nobody claims, oldest first, and resolves to what it removed. One prune of a
   * cluster at a time, also among daemons: where another one is at it, waits for its end.
   */
  async prune(options: Signalled): Promise<RetentionPlan> {
    return this.#inTurn(async () => {
      for (;;) {
        const removed = await this.#prune(await this.plan(options), options);
        if ("plan" in removed) return removed.plan;
        await delay(Math.min(LEASE_LOOK_MS, this.#leaseMs / 2), undefined, options);
      }
    });
  }

  /** How far WAL was removed by any daemon; `undefined` where there is only this one. */
  async readMarks(options: Signalled): Promise<Marks | undefined> {
    return this.#lease?.read(options);
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
    // Where another daemon is at it, the next step tries again.
    if (this.register.sincePruneMs >= this.intervalMs) {
      await this.#inTurn(async () => {
        await this.#prune(await this.register.decide(planOf, options), options);
      });
    }
    await this.register.save(options);
  }

  async #inTurn<T>(prune: () => Promise<T>): Promise<T> {
    const turn = this.#pruning.then(prune);
    this.#pruning = turn.catch(() => {});
    return turn;
  }

  async #prune(
    seen: RetentionPlan,
    options: Signalled,
  ): Promise<{ plan: RetentionPlan } | { heldBy: string }> {
    let plan = seen;
    if (this.#lease !== undefined && removableFiles(plan) > 0) {
      const heldBy = await this.#lease.take(options);
      if (heldBy !== undefined) return this.#leaveTo(heldBy);
      plan = await this.#pruneAsHolder(this.#lease, options);
    } else {
      plan = await this.#carryOut(plan, options);
    }
    this.#holder = undefined;
    this.register.pruned();
    this.#logPruned(plan);
    return { plan };
  }

  #leaveTo(heldBy: string): { heldBy: string } {
    const { log, name: cluster } = this.#archive;
    if (this.#holder !== heldBy) log.info({ cluster, holder: heldBy }, "another daemon prunes");
    this.#holder = heldBy;
    return { heldBy };
  }

  async #pruneAsHolder(lease: Lease, options: Signalled): Promise<RetentionPlan> {
    try {
      // Anew: what another holder has removed meanwhile is not ours to count.
      return await this.#carryOut(await this.plan(options), { ...options, lease });
    } finally {
      const signal = AbortSignal.timeout(RELEASE_MS_MAX);
      await lease.release({ signal }).catch((error: unknown) => {
        const { log, name: cluster } = this.#archive;
        log.warn({ cluster, err: error }, "lease not released, the others wait for its end");
      });
    }
  }

  async #carryOut(
    plan: RetentionPlan,
    options: Signalled & { lease?: Lease },
  ): Promise<RetentionPlan> {
    const { signal, lease } = options;
    let removedUpTo: string | undefined;
    return carryOut(plan, {
      signal,
      withHorizon: async (remove, { upTo }) => {
        let mayRemove = true;
        const before = async () => {
          mayRemove = (await lease?.announce(upTo, { signal })) ?? true;
          if (lease !== undefined && mayRemove) await this.#archive.relearn(upTo, { signal });
        };
        const work = async (claimants: Claimants) => {
          await remove(mayRemove ? planOf(claimants).horizon : undefined);
        };
        removedUpTo = undefined;
        await this.register.decide(work, { signal, before });
        lease?.settle(removedUpTo);
      },
      discard: async (names) => {
        const gone = (names: readonly PlacedName[]) => {
          this.#prunedSegments += names.filter(({ kind }) => kind === "segment").length;
        };
        await this.#archive.discard(names, { signal, gone });
        removedUpTo = names.at(-1)?.position;
      },
    });
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
