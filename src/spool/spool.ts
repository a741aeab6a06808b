/**
 * A directory that other programs put WAL files into, and that is drained into the archive. A file
 * leaves it only when it is durable there; what cannot be archived is moved aside, never deleted.
 */
import { resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { isFailure, WalarcError } from "../errors.ts";
import { Bell } from "../lifecycle.ts";
import type { WalName } from "../wal/name.ts";
import { lockSpool } from "./apart.ts";
import { type Candidate, Candidates } from "./candidates.ts";
import { SpoolDirectory } from "./directory.ts";
import { FILES_AT_ONCE, Handling, type SpoolOptions } from "./handling.ts";
import { inParallel } from "./parallel.ts";
import { SpoolReport } from "./report.ts";
import { scanSpool } from "./scan.ts";
import type { SpoolStatus } from "./status.ts";

/** Between two scans at least, or a writer of small pieces would keep us reading names. */
const SCAN_PAUSE_MS = 50;
/** And at most so large a part of the time goes into reading names, while there is work. */
const DRAIN_PER_SCAN = 20;
const DRAIN_MS_MIN = 1000;
const WAIT_MS_MAX = 1000;

export class Spool implements Disposable {
  readonly path: string;
  readonly cluster: string;
  readonly #options: SpoolOptions;
  readonly #directory: SpoolDirectory;
  readonly #candidates: Candidates;
  readonly #bell = new Bell();
  readonly #handling: Handling;
  #scan = 0;
  #scannedAtMs = Number.NEGATIVE_INFINITY;
  #scanTookMs = 0;
  readonly #report = new SpoolReport();
  #rejectedChangedNs: bigint | undefined;
  #startedAtMs = 0;
  /** When it was last asked what is ripe: what has become so since is still to be done. */
  #askedAtMs = 0;
  #isUnderWay = false;
  /** Held from the first step that finds the directory usable. */
  #lock: Disposable | undefined;

  constructor(options: SpoolOptions) {
    this.path = resolve(options.path);
    this.cluster = options.cluster;
    this.#options = options;
    this.#directory = new SpoolDirectory(this.path);
    this.#candidates = new Candidates(options);
    this.#handling = new Handling({
      ...options,
      path: this.path,
      directory: this.#directory,
      candidates: this.#candidates,
      report: this.#report,
    });
  }

  /** Rejects with `usage` when nobody should drain the directory, `local` when it is not there. */
  async requireUsable(): Promise<void> {
    await this.#directory.requireUsable();
  }

  /** Something may have come. */
  ring(): void {
    this.#bell.ring();
  }

  /**
   * Drains until nothing is left that waits for us alone. Rejects when the archive takes nothing
   * or the directory cannot be used; then nothing was lost, and the next step tries again.
   */
  async step(signal: AbortSignal): Promise<void> {
    this.#isUnderWay = true;
    this.#startedAtMs = performance.now();
    try {
      for (;;) {
        await this.#pause(signal);
        await this.#round(signal);
        this.#report.problem = undefined;
        const nextMs = this.#candidates.nextRipeMs();
        if (nextMs === undefined && !this.#directory.hasInterrupted) return;
        const waitMs = Math.min(
          WAIT_MS_MAX,
          (nextMs ?? Number.POSITIVE_INFINITY) - performance.now(),
        );
        if (waitMs > 0) await this.#bell.heard({ deadlineMs: Math.ceil(waitMs), signal });
        signal.throwIfAborted();
      }
    } catch (error) {
      if (!signal.aborted)
        this.#report.problem = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      this.#isUnderWay = false;
    }
  }

  status(): SpoolStatus {
    const { incompleteAfterMs } = this.#options;
    return this.#report.status(this.#candidates, { path: this.path, incompleteAfterMs });
  }

  /**
   * Whether the WAL file stands in the spool, or a later segment of its timeline does that is next
   * in turn. A directory that cannot be asked holds nothing.
   */
  async isWaiting(name: WalName): Promise<boolean> {
    for (const { name: other } of this.#candidates.all()) {
      if (other.kind !== "wal" || other.wal.timeline !== name.timeline) continue;
      if (other.wal.kind === "segment" && name.kind === "segment" && other.text > name.text) {
        return true;
      }
    }
    const found = await this.#directory.look(name.text).catch(() => undefined);
    return found?.kind === "file";
  }

  /** When there will be something to do even if nothing happens, in ms from now. */
  get dueInMs(): number {
    return this.#candidates.nextDueMs(this.#askedAtMs) - performance.now();
  }

  /** Room on the spool's own disk; `undefined` before it was asked. */
  get room(): { freeBytes: number; totalBytes: number } | undefined {
    return this.#report.room;
  }

  /** For how long a step has been under way without anything moving. */
  get silentMs(): number {
    const movedAtMs = Math.max(this.#startedAtMs, this.#scannedAtMs, this.#handling.movedAtMs);
    return this.#isUnderWay ? performance.now() - movedAtMs : 0;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const pauseMs = this.#scannedAtMs + SCAN_PAUSE_MS - performance.now();
    if (pauseMs > 0) await delay(pauseMs, undefined, { signal });
  }

  /** Lets others drain the directory. To be called when no step is under way. */
  [Symbol.dispose](): void {
    this.#lock?.[Symbol.dispose]();
    this.#lock = undefined;
  }

  async #round(signal: AbortSignal): Promise<void> {
    await this.#directory.requireUsable();
    this.#lock ??= await lockSpool(this.path);
    await this.#directory.restoreInterrupted();
    const startMs = performance.now();
    this.#scan += 1;
    const options = { scan: this.#scan, nowMs: () => performance.now(), signal };
    const { files } = await scanSpool(this.#directory, this.#candidates, options);
    this.#report.files = files;
    this.#scannedAtMs = performance.now();
    this.#scanTookMs = this.#scannedAtMs - startMs;
    this.#report.room = await this.#directory.room();
    await this.#countRejected();
    await this.#act(signal);
    if (this.#report.files === 0) this.#report.waitingIsOver();
  }

  async #countRejected(): Promise<void> {
    const changedNs = await this.#directory.rejectedChangedNs();
    if (changedNs === this.#rejectedChangedNs) return;
    this.#report.rejected = await this.#directory.rejectedCount();
    this.#rejectedChangedNs = changedNs;
  }

  /** Deals with what is ripe, history files before anything else is begun. */
  async #act(signal: AbortSignal): Promise<void> {
    this.#askedAtMs = performance.now();
    const ripe = this.#candidates.ripe(this.#askedAtMs);
    const isHistory = ({ name }: Candidate) => name.kind === "wal" && name.wal.kind === "history";
    const endMs = performance.now() + Math.max(DRAIN_MS_MIN, DRAIN_PER_SCAN * this.#scanTookMs);
    const goesOn = () => performance.now() < endMs;
    try {
      for (const group of [ripe.filter(isHistory), ripe.filter((one) => !isHistory(one))]) {
        await inParallel(group, { width: FILES_AT_ONCE, signal, goesOn }, (one, worker) =>
          this.#handling.act(one, { worker, signal }),
        );
      }
    } catch (error) {
      throw isFailure(error, "store-failed") ? this.#waitFor(error) : error;
    }
  }

  /** The archive takes nothing: how long this has been so belongs to what the log says. */
  #waitFor(cause: WalarcError): WalarcError {
    const seconds = Math.round(this.#report.waitingMs() / 1000);
    const what = `${this.#report.files} files of cluster "${this.cluster}"`;
    const message = `${what} have been waiting for ${seconds} s: ${cause.message}`;
    const hint = cause.hint === undefined ? {} : { hint: cause.hint };
    return new WalarcError("store-failed", message, { cause, ...hint });
  }
}
