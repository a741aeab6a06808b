/** What a lease says in the store. */
import { leasePrefix } from "./keys.ts";
import type { Fields } from "./state-object.ts";

/** How far WAL was removed. Positions are those of WAL names, sixteen hex digits. */
export interface Marks {
  /** Nobody claimed what lay up to here: whatever is gone there was pruned. */
  readonly prunedUpTo: string | undefined;
  /** Whatever lies up to here may be being removed just now. */
  readonly removingUpTo: string | undefined;
}

export interface LeaseRecord extends Marks {
  readonly holder: string;
  /** Whether the holder still wants it. */
  readonly isHeld: boolean;
  /** Changes each time the holder writes, so that others see it live. */
  readonly beat: number;
}

export const NO_MARKS: Marks = { prunedUpTo: undefined, removingUpTo: undefined };

const POSITION = /^[0-9A-F]{16}$/;
const KEY = /^([0-9]{10})\.json$/;

/** Epochs have as many digits as make names sort like numbers. */
export function leaseKey(cluster: string, epoch: number): string {
  return `${leasePrefix(cluster)}${String(epoch).padStart(10, "0")}.json`;
}

export function epochAt(cluster: string, key: string): number | undefined {
  const digits = KEY.exec(key.slice(leasePrefix(cluster).length))?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The same with the higher ones of two pairs of marks. */
export function withMarks<T extends Marks>(one: T, other: Marks): T {
  return {
    ...one,
    prunedUpTo: highest(one.prunedUpTo, other.prunedUpTo),
    removingUpTo: highest(one.removingUpTo, other.removingUpTo),
  };
}

/** Up to where WAL may be gone, for good reason. */
export function goneUpTo({ prunedUpTo, removingUpTo }: Marks): string | undefined {
  return highest(prunedUpTo, removingUpTo);
}

export function leaseFields(record: LeaseRecord): Fields {
  const { holder, isHeld, beat, prunedUpTo = null, removingUpTo = null } = record;
  return { holder, isHeld, beat, prunedUpTo, removingUpTo };
}

export function parseLease(fields: Fields): LeaseRecord | undefined {
  const { holder, isHeld, beat, prunedUpTo, removingUpTo } = fields;
  if (typeof holder !== "string" || typeof isHeld !== "boolean") return undefined;
  if (typeof beat !== "number" || !isMark(prunedUpTo) || !isMark(removingUpTo)) return undefined;
  return {
    holder,
    isHeld,
    beat,
    prunedUpTo: prunedUpTo ?? undefined,
    removingUpTo: removingUpTo ?? undefined,
  };
}

function isMark(value: unknown): value is string | null {
  return value === null || (typeof value === "string" && POSITION.test(value));
}

export function highest(one: string | undefined, other: string | undefined): string | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one < other ? other : one;
}
