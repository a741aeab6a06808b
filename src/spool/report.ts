import { performance } from "node:perf_hooks";
import type { Candidates } from "./candidates.ts";
import type { RejectedEntry, SpoolStatus } from "./status.ts";

/** Of each list in a status. */
const LISTED_MAX = 20;

/** What a spool keeps in mind to tell about itself; answered from memory. */
export class SpoolReport {
  /** WAL files waiting. */
  files = 0;
  /** Entries in `rejected/`. */
  rejected = 0;
  /** Why nothing is drained. */
  problem: string | undefined = "the spool has not been looked at yet";
  /** Room on the spool's own disk. */
  room: { freeBytes: number; totalBytes: number } | undefined;
  #lastRejected: readonly RejectedEntry[] = [];
  #waiting: { readonly since: Date; readonly sinceMs: number } | undefined;

  /** The archive takes nothing. Returns for how long that has been so. */
  waitingMs(): number {
    this.#waiting ??= { since: new Date(), sinceMs: performance.now() };
    return performance.now() - this.#waiting.sinceMs;
  }

  waitingIsOver(): void {
    this.#waiting = undefined;
  }

  wasRejected(entry: RejectedEntry): void {
    this.#lastRejected = [entry, ...this.#lastRejected].slice(0, LISTED_MAX);
    if (entry.as !== null) this.rejected += 1;
  }

  status(
    candidates: Candidates,
    options: { path: string; incompleteAfterMs: number },
  ): SpoolStatus {
    const now = performance.now();
    let writtenMs = now;
    const incomplete: { name: string; why: string }[] = [];
    const abandoned: string[] = [];
    for (const { name, held, sinceMs, writtenMs: ownMs } of candidates.all()) {
      if (name.kind === "wal") {
        writtenMs = Math.min(writtenMs, ownMs);
        if (held !== undefined) incomplete.push({ name: name.text, why: held.why });
      }
      const isAbandoned = now - sinceMs >= options.incompleteAfterMs;
      if (name.kind === "temporary" && isAbandoned) abandoned.push(name.text);
    }
    return {
      path: options.path,
      files: this.files,
      oldestAgeSeconds: this.files === 0 ? 0 : Math.round((now - writtenMs) / 1000),
      waitingSince: this.#waiting?.since.toISOString() ?? null,
      problem: this.problem ?? null,
      incomplete: incomplete.slice(0, LISTED_MAX),
      abandoned: abandoned.slice(0, LISTED_MAX),
      rejected: this.rejected,
      lastRejected: this.#lastRejected,
    };
  }
}
