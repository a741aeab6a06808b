/** What a spool knows of the entries it has seen: for how long each has been left alone. */
import { compareTurns } from "../wal/turns.ts";
import { type EntryName, type EntryStatus, isSameStatus } from "./entry.ts";
import type { Rejection } from "./status.ts";

/** A segment's content proves it whole, so it need not be left alone for long. */
const PROVEN_QUIET_MS_MAX = 1000;

export interface Candidate {
  readonly name: EntryName;
  seen: EntryStatus;
  /** When it was first seen to be as it is. Monotonic, in ms, like every time here. */
  sinceMs: number;
  /** When it was last written to, as far as the file system's clock can be believed. */
  writtenMs: number;
  /** Its content does not prove it whole. */
  isUnproven: boolean;
  /** Why it stays where it is. Whoever writes to it frees it. */
  held: Hold | undefined;
  /** The scan that met it last. */
  scan: number;
}

export interface Hold {
  readonly reason: Rejection;
  readonly why: string;
  /** When to do something about it; never before it changes, when infinite. */
  readonly untilMs: number;
}

export interface Patience {
  readonly settleMs: number;
  readonly incompleteAfterMs: number;
}

export class Candidates {
  readonly #patience: Patience;
  readonly #all = new Map<string, Candidate>();

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  get(name: string): Candidate | undefined {
    return this.#all.get(name);
  }

  all(): IterableIterator<Candidate> {
    return this.#all.values();
  }

  /** Notes what a look at an entry showed. `writtenAgoMs`: by the file system's clock. */
  note(
    name: EntryName,
    seen: EntryStatus,
    now: { nowMs: number; writtenAgoMs: number; scan: number },
  ): void {
    const known = this.#all.get(name.text);
    if (known !== undefined && isSameStatus(known.seen, seen)) return;
    const { nowMs, writtenAgoMs, scan } = now;
    const writtenMs = nowMs - Math.max(0, writtenAgoMs);
    const fresh = { name, seen, sinceMs: nowMs, writtenMs, isUnproven: false, held: undefined };
    this.#all.set(name.text, { ...fresh, scan: known?.scan ?? scan });
  }

  forget(name: string): void {
    this.#all.delete(name);
  }

  /** Forgets what the scan did not meet. */
  forgetUnmet(scan: number): void {
    for (const [name, candidate] of this.#all) {
      if (candidate.scan !== scan) this.#all.delete(name);
    }
  }

  /** When it will have been left alone for long enough to be acted on. */
  ripeMs(candidate: Candidate): number {
    const { settleMs, incompleteAfterMs } = this.#patience;
    const { name, held, sinceMs, isUnproven } = candidate;
    if (held !== undefined) return held.untilMs;
    if (name.kind === "temporary") return sinceMs + incompleteAfterMs;
    const provesItself = name.kind === "wal" && name.wal.kind === "segment" && !isUnproven;
    return sinceMs + (provesItself ? Math.min(settleMs, PROVEN_QUIET_MS_MAX) : settleMs);
  }

  isSettled(candidate: Candidate, nowMs: number): boolean {
    return nowMs - candidate.sinceMs >= this.#patience.settleMs;
  }

  /** A cut copy is waited for from when it last changed. */
  holdUnfinished(candidate: Candidate, why: { reason: Rejection; why: string }): void {
    candidate.held = { ...why, untilMs: candidate.sinceMs + this.#patience.incompleteAfterMs };
  }

  /** Those to act on now, in turn. */
  ripe(nowMs: number): Candidate[] {
    const ripe = [...this.#all.values()].filter((one) => this.ripeMs(one) <= nowMs);
    return ripe.sort((one, other) => compareTurns(one.name.text, other.name.text));
  }

  /** When the next one that nobody waits for becomes ripe; `undefined` when there is none. */
  nextRipeMs(): number | undefined {
    let next: number | undefined;
    for (const one of this.#all.values()) {
      if (one.name.kind === "temporary" || one.held !== undefined) continue;
      next = Math.min(next ?? Number.POSITIVE_INFINITY, this.ripeMs(one));
    }
    return next;
  }

  /** When the next one of all becomes ripe that is not yet; infinite when there is none. */
  nextDueMs(nowMs: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const one of this.#all.values()) {
      const ripeMs = this.ripeMs(one);
      if (ripeMs > nowMs) next = Math.min(next, ripeMs);
    }
    return next;
  }

  held(): Candidate[] {
    return [...this.#all.values()].filter((one) => one.held !== undefined);
  }
}
