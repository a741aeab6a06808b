/** What happens to the entries of a spool when their time has come, one at a time. */
import { performance } from "node:perf_hooks";
import type { Logger } from "pino";
import { isFailure, WalarcError } from "../errors.ts";
import type { WalName } from "../wal/name.ts";
import type { Candidate, Candidates, Patience } from "./candidates.ts";
import type { Removal, SpoolDirectory } from "./directory.ts";
import { drainFile, type Push, type PushOutcome, type Verdict } from "./drain.ts";
import { type EntryName, HAND_OVER_NAME } from "./entry.ts";
import type { SpoolReport } from "./report.ts";
import { lookAt } from "./scan.ts";
import type { Rejection } from "./status.ts";

export interface SpoolOptions extends Patience {
  readonly path: string;
  readonly cluster: string;
  readonly push: Push;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** Told of every push's end and of everything that was set aside. */
  readonly count: {
    pushed(outcome: PushOutcome | "conflict" | "rejected"): void;
    rejected(reason: Rejection): void;
  };
}

/** Files on their way at once: enough to keep hashing, compressing and the disks busy. */
export const FILES_AT_ONCE = 4;
const BUFFER_BYTES = 1024 * 1024;
/** What failed by itself, not for the archive's sake, is tried again after this. */
const RETRY_MS = 30_000;
/** No hand-over is idle for so long between two of its steps. */
const HAND_OVER_MS_MIN = 60_000;

export class Handling {
  readonly #options: SpoolOptions;
  readonly #directory: SpoolDirectory;
  readonly #candidates: Candidates;
  readonly #report: SpoolReport;
  readonly #buffers = Array.from({ length: FILES_AT_ONCE }, () => Buffer.allocUnsafe(BUFFER_BYTES));
  /** When the last entry was dealt with. */
  movedAtMs = 0;

  constructor(
    options: SpoolOptions & {
      directory: SpoolDirectory;
      candidates: Candidates;
      report: SpoolReport;
    },
  ) {
    this.#options = options;
    this.#directory = options.directory;
    this.#candidates = options.candidates;
    this.#report = options.report;
  }

  /**
   * Drains it, sets it aside or leaves it for later. Rejects with what is no fault of the entry:
   * the archive takes nothing, the directory cannot be used. `worker`: no two at once with one.
   */
  async act(one: Candidate, options: { worker: number; signal: AbortSignal }): Promise<void> {
    const { name, seen, held } = one;
    if (name.kind === "temporary") return this.#sweep(one);
    if (name.kind !== "wal") {
      const isFile = seen.kind === "file";
      const why = isFile ? "no WAL file has such a name" : `is a ${seen.kind}`;
      return this.#setAside(one, { reason: isFile ? "foreign_name" : "not_a_file", why });
    }
    if (seen.kind !== "file") {
      return this.#setAside(one, { reason: "not_a_file", why: `is a ${seen.kind}` });
    }
    const { sinceMs } = one;
    const isOverdue = performance.now() - sinceMs >= this.#options.incompleteAfterMs;
    if (held !== undefined && isOverdue && held.reason !== "unreadable") {
      return this.#setAside(one, held);
    }
    await this.#drain(one, name.wal, options);
  }

  async #drain(
    one: Candidate,
    wal: WalName,
    { worker, signal }: { worker: number; signal: AbortSignal },
  ): Promise<void> {
    const startMs = performance.now();
    const { seen } = one;
    const buffer = this.#buffers[worker] as Buffer;
    const isSettled = this.#candidates.isSettled(one, startMs);
    let verdict: Verdict;
    try {
      const { push } = this.#options;
      const options = { push, seen, isSettled, buffer, signal };
      verdict = await drainFile(this.#directory, wal, options);
    } catch (error) {
      if (error instanceof WalarcError || signal.aborted) throw error;
      const { log } = this.#options;
      log.error({ ...this.#place(one), err: error }, "spool file not drained");
      const why = error instanceof Error ? error.message : String(error);
      one.held = { reason: "unreadable", why, untilMs: performance.now() + RETRY_MS };
      return;
    }
    this.movedAtMs = performance.now();
    await this.#conclude(one, verdict, this.movedAtMs - startMs);
  }

  async #conclude(one: Candidate, verdict: Verdict, tookMs: number): Promise<void> {
    switch (verdict.kind) {
      case "archived":
        return this.#removeArchived(one, { ...verdict, durationMs: Math.round(tookMs) });
      case "changed":
        return this.#lookAgain(one.name);
      case "unproven":
        one.isUnproven = true;
        return;
      case "refused":
        if (verdict.reason === "conflict") this.#options.count.pushed("conflict");
        if (verdict.reason === "rejected") this.#options.count.pushed("rejected");
        return this.#setAside(one, verdict);
      case "unfinished":
        return this.#hold(one, verdict);
    }
  }

  async #removeArchived(
    one: Candidate,
    {
      outcome,
      sizeBytes,
      durationMs,
    }: Extract<Verdict, { kind: "archived" }> & {
      durationMs: number;
    },
  ): Promise<void> {
    this.#report.waitingIsOver();
    const { log, count } = this.#options;
    count.pushed(outcome);
    const place = { ...this.#place(one), outcome, sizeBytes, durationMs };
    log[outcome === "kept-aside" ? "warn" : "info"](place, "drained");
    const removal = await this.#directory.remove(one.name.text, one.seen);
    if (removal.kind === "changed") return this.#lookAgain(one.name);
    this.#forget(one);
  }

  /** Says it once, and waits for somebody to complete it. */
  async #hold(one: Candidate, { reason, why }: { reason: Rejection; why: string }): Promise<void> {
    const isKnown = one.held?.why === why;
    this.#candidates.holdUnfinished(one, { reason, why });
    if ((one.held?.untilMs ?? 0) <= performance.now()) return this.#setAside(one, { reason, why });
    if (!isKnown) this.#options.log.warn({ ...this.#place(one), why }, "incomplete file in spool");
  }

  async #setAside(one: Candidate, { reason, why }: { reason: Rejection; why: string }) {
    const { log, count } = this.#options;
    const removal = await this.#rejectIfPossible(one);
    if (removal.kind === "changed") return this.#lookAgain(one.name);
    if (removal.kind === "gone") return this.#forget(one);
    const as = removal.as ?? null;
    if (as === null) one.held = { reason, why, untilMs: Number.POSITIVE_INFINITY };
    this.movedAtMs = performance.now();
    this.#report.wasRejected({ name: one.name.text, reason, why, as });
    count.rejected(reason);
    log.warn({ ...this.#place(one), reason, why, as }, "set aside");
    if (as !== null) this.#forget(one);
  }

  /** What is not ours to move, such as a directory that we may not write into, stays. */
  async #rejectIfPossible({ name, seen }: Candidate): Promise<Removal> {
    try {
      return await this.#directory.reject(name.text, seen);
    } catch (error) {
      if (isFailure(error, "local")) return { kind: "done" };
      throw error;
    }
  }

  /** A hand-over whose command was killed: never published, and its caller was told so. */
  async #sweep(one: Candidate): Promise<void> {
    const { name, seen, sinceMs } = one;
    const now = await this.#directory.look(name.text);
    if (now === undefined) return this.#forget(one);
    const idleMs = performance.now() - sinceMs;
    const isOurs = HAND_OVER_NAME.test(name.text) && seen.kind === "file";
    if (isOurs && idleMs >= Math.max(HAND_OVER_MS_MIN, this.#options.incompleteAfterMs)) {
      const removal = await this.#directory.remove(name.text, seen);
      if (removal.kind === "done") {
        this.#options.log.info(this.#place(one), "unfinished hand-over removed");
        return this.#forget(one);
      }
    }
    await this.#lookAgain(name);
  }

  async #lookAgain(name: EntryName): Promise<void> {
    const options = { name, nowMs: () => performance.now() };
    await lookAt(this.#directory, this.#candidates, options);
  }

  #forget({ name }: Candidate): void {
    this.#candidates.forget(name.text);
    if (name.kind === "wal") this.#report.files = Math.max(0, this.#report.files - 1);
  }

  #place({ name }: Candidate) {
    const { path, cluster } = this.#options;
    return name.kind === "wal"
      ? { wal: name.text, cluster, spool: path }
      : { entry: name.text, cluster, spool: path };
  }
}
