/** Carrying out a plan. */
import type { Signalled } from "../store/store.ts";
import type { PlacedName } from "../wal/name.ts";
import { planUpTo, removableNames, type RetentionPlan } from "../wal/retention.ts";

/**
 * So many files at a time; in between, a restart point can move back and a hold can be put. More
 * would make them wait too long, fewer would read the claims too often.
 */
export const BATCH_FILES = 2048;

export interface PruneOptions extends Signalled {
  /**
   * Calls `remove` with the horizon of this moment while no claim can change; `undefined` when
   * nothing may be removed any more. Nothing above the position `upTo` will be.
   */
  readonly withHorizon: (
    remove: (horizon: PlacedName | undefined) => Promise<void>,
    options: { readonly upTo: string },
  ) => Promise<void>;
  readonly discard: (names: readonly PlacedName[]) => Promise<void>;
}

/**
 * Removes what the plan names, oldest first, and never what a claim made meanwhile needs; resolves
 * to the part of the plan that was carried out. Rejects with the signal's reason between two
 * batches, and with `store-failed`: what is gone then is what a smaller plan would have removed.
 */
export async function carryOut(plan: RetentionPlan, options: PruneOptions): Promise<RetentionPlan> {
  const names = removableNames(plan);
  for (let batch = take(names); batch.length > 0; batch = take(names)) {
    options.signal.throwIfAborted();
    let end: PlacedName | undefined;
    const upTo = batch.at(-1)?.position ?? "";
    const remove = async (horizon: PlacedName | undefined) => {
      const free = batch.filter(({ position }) => horizon && position < horizon.position);
      if (free.length > 0) await options.discard(free);
      if (free.length < batch.length) end = batch[free.length];
    };
    await options.withHorizon(remove, { upTo });
    if (end !== undefined) return planUpTo(plan, end);
  }
  return plan;
}

function take(names: Iterator<PlacedName, void, void>): PlacedName[] {
  const batch: PlacedName[] = [];
  while (batch.length < BATCH_FILES) {
    const step = names.next();
    if (step.done === true) break;
    batch.push(step.value);
  }
  return batch;
}
