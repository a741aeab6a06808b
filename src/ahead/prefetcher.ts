/**
 * The prefetcher: a process beside the server that fills the stock while PostgreSQL replays. It
 * says nothing and fails nobody: what it has not fetched, the next call fetches itself.
 */
import { statfsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Endpoint } from "../client/connection.ts";
import { download } from "../client/download.ts";
import { VerifiedFile } from "../client/verified-file.ts";
import { framesAtOnce } from "../client/zstd.ts";
import { isFailure } from "../errors.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { segmentsAhead, UNKNOWN_PACE, withFetch, withInterval } from "../wal/pace.ts";
import { segmentName, segmentNumber } from "../wal/segment.ts";
import { isRecovering, postmasterPid } from "./postmaster.ts";
import { isThere, processIdentity } from "./process.ts";
import type { Stock, Taken } from "./stock.ts";

/** How often to look while segments are taken, and how often after a while without. */
const BUSY_MS = 5;
const QUIET_MS = 100;
const QUIET_AFTER_MS = 1_000;
/** How often to make sure that somebody needs the stock. */
const CHECK_MS = 100;
/** Without a segment taken for so long the recovery is over, paused, or has nothing to replay. */
const IDLE_MS = 60_000;
/** Until the call that started this process has said so. */
const ENTRUSTED_MS = 2_000;
const DOWNLOADS_MAX = 4;
/** A download on which nothing moves for so long is given up. */
const STANDSTILL_MS = 10_000;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
/** The part of the file system that is left to PostgreSQL. */
const LEFT_FREE = 0.1;

export interface PrefetchOptions {
  readonly stock: Stock;
  /** Gets the names that the archive did not have. */
  readonly missed: Set<string>;
  /** This process, as `processIdentity` says it. */
  readonly identity: string;
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What the stock may hold; without it 256 MB, or two segments where they are larger. */
  readonly limitBytes: number | undefined;
  /** `pg_wal`, whose file system the stock is on. */
  readonly walDirectory: string;
  readonly signal: AbortSignal;
}

const LIMIT_BYTES = 256 * 1024 * 1024;
const LARGE_SEGMENTS = 2;

/** Fills the stock until nobody needs it any more, and removes it. Never rejects. */
export async function prefetch(options: PrefetchOptions): Promise<void> {
  const prefetcher = new Prefetcher(options);
  try {
    await prefetcher.run();
  } catch {
    // The stock cannot be read or written. There is nobody to tell, and nobody is harmed.
  }
  await prefetcher.end();
}

class Prefetcher {
  readonly #options: PrefetchOptions;
  readonly #stop = new AbortController();
  /** By name. */
  readonly #underWay = new Map<string, { readonly stop: AbortController; done: Promise<void> }>();
  #pace = UNKNOWN_PACE;
  #taken: Taken | undefined;
  #takenAtMs = performance.now();
  #retryMs = RETRY_MS_MIN;
  #pausedUntilMs = 0;
  /** The archive has nothing beyond: not to be asked again before this one is no more the last. */
  #lastBeforeEnd: string | undefined;
  #isOurs = false;
  #leftFreeBytes = 0;

  constructor(options: PrefetchOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#stop.abort(), { once: true });
  }

  async run(): Promise<void> {
    const startedAtMs = performance.now();
    const server = processIdentity(postmasterPid() ?? 0);
    for (let checkedAtMs = 0; ; ) {
      const nowMs = performance.now();
      if (nowMs - checkedAtMs >= CHECK_MS) {
        this.#isOurs = this.#options.stock.place.isOwnedBy(this.#options.identity);
        const isAwaited = nowMs - startedAtMs < ENTRUSTED_MS && checkedAtMs === 0;
        if (!this.#isOurs && !isAwaited) return;
        // The server is gone, or has ended its recovery.
        if (server === undefined || !isThere(server) || !isRecovering()) return;
        if (this.#isOurs) checkedAtMs = nowMs;
        if (this.#freeBytes() < this.#leftFreeBytes / 2) this.#giveBack();
      }
      if (this.#stop.signal.aborted || nowMs - this.#takenAtMs > IDLE_MS) return;
      if (this.#isOurs) this.#step(nowMs);
      const isQuiet = nowMs - this.#takenAtMs > QUIET_AFTER_MS && this.#underWay.size === 0;
      await this.#pause(isQuiet ? QUIET_MS : BUSY_MS);
    }
  }

  async end(): Promise<void> {
    this.#stop.abort();
    for (const { stop } of this.#underWay.values()) stop.abort();
    await Promise.allSettled([...this.#underWay.values()].map(({ done }) => done));
    // Of a successor's stock nothing is removed.
    if (this.#isOurs && this.#options.stock.place.isOwnedBy(this.#options.identity)) {
      this.#options.stock.place.remove();
    }
  }

  async #pause(ms: number): Promise<void> {
    try {
      await delay(ms, undefined, { signal: this.#stop.signal });
    } catch {
      // Told to stop: the loop sees it.
    }
  }

  #step(nowMs: number): void {
    const { stock } = this.#options;
    // In this order: a segment is noted as taken before it leaves the stock.
    const ready = new Set(stock.ready());
    const taken = stock.taken();
    if (taken === undefined) return;
    if (taken.name.text !== this.#taken?.name.text) {
      if (this.#taken !== undefined) {
        this.#pace = withInterval(this.#pace, nowMs - this.#takenAtMs);
      }
      this.#taken = taken;
      this.#takenAtMs = nowMs;
    }
    const most = segmentsWithin(this.#options.limitBytes, taken.sizeBytes);
    const names = followers(taken, most);
    // The one just noted is on its way out.
    this.#forget([taken.name, ...names], ready);
    if (nowMs < this.#pausedUntilMs || this.#lastBeforeEnd === taken.name.text) return;
    const atOnce = framesAtOnce(taken.sizeBytes, DOWNLOADS_MAX);
    for (const name of names.slice(0, segmentsAhead(this.#pace, most))) {
      if (ready.has(name.text) || this.#underWay.has(name.text)) continue;
      if (this.#underWay.size >= atOnce) return;
      if (ready.size + this.#underWay.size >= most) return;
      if (!this.#hasRoomFor(taken.sizeBytes)) return;
      this.#begin(name, taken.sizeBytes);
    }
  }

  /** What is not ahead any more: PostgreSQL has it, or has changed to another timeline. */
  #forget(names: readonly PlacedName[], ready: Set<string>): void {
    const wanted = new Set(names.map(({ text }) => text));
    for (const name of ready) {
      if (wanted.has(name)) continue;
      this.#options.stock.place.discard(name);
      ready.delete(name);
    }
    for (const [name, { stop }] of this.#underWay) if (!wanted.has(name)) stop.abort();
  }

  #hasRoomFor(bytes: number): boolean {
    const underWayBytes = this.#underWay.size * bytes;
    return this.#freeBytes() - underWayBytes - bytes >= this.#leftFreeBytes;
  }

  /** Of the file system, for PostgreSQL's account. */
  #freeBytes(): number {
    const { bavail, blocks, bsize } = statfsSync(this.#options.walDirectory);
    this.#leftFreeBytes = blocks * bsize * LEFT_FREE;
    return bavail * bsize;
  }

  /** Others have taken the room. */
  #giveBack(): void {
    for (const name of this.#options.stock.ready()) this.#options.stock.place.discard(name);
  }

  #begin(name: PlacedName, sizeBytes: number): void {
    const stop = new AbortController();
    const done = this.#fetch(name, { sizeBytes, signal: stop.signal }).finally(() =>
      this.#underWay.delete(name.text),
    );
    this.#underWay.set(name.text, { stop, done });
  }

  async #fetch(
    name: PlacedName,
    { sizeBytes, signal }: { readonly sizeBytes: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const { stock, endpoint, cluster, headers } = this.#options;
    const beganAtMs = performance.now();
    let file: VerifiedFile | undefined;
    try {
      const sha256 = await download({
        endpoint,
        cluster,
        name,
        headers,
        framedBytes: sizeBytes,
        open: () => (file = new VerifiedFile(stock.partOf(name))),
        signal,
        idleTimeoutMs: STANDSTILL_MS,
      });
      file?.proveDigest(sha256);
      // PostgreSQL syncs what it is given: that costs nothing any more.
      await file?.sync();
      signal.throwIfAborted();
      // A successor writes under the same names.
      if (!stock.place.isOwnedBy(this.#options.identity)) return;
      file?.publish(stock.pathOf(name));
      this.#pace = withFetch(this.#pace, performance.now() - beganAtMs);
      this.#retryMs = RETRY_MS_MIN;
    } catch (error) {
      if (isFailure(error, "absent")) this.#options.missed.add(name.text);
      if (!signal.aborted) this.#holdBack(error);
    } finally {
      file?.discard();
    }
  }

  #holdBack(error: unknown): void {
    this.#pausedUntilMs = performance.now() + this.#retryMs;
    if (isFailure(error, "absent") || isFailure(error, "gap")) {
      this.#lastBeforeEnd = this.#taken?.name.text;
    } else {
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
    }
  }
}

function segmentsWithin(limitBytes: number | undefined, segmentBytes: number): number {
  const bytes = limitBytes ?? Math.max(LIMIT_BYTES, LARGE_SEGMENTS * segmentBytes);
  return Math.floor(bytes / segmentBytes);
}

/** The segments after this one on its timeline. */
function followers({ name, sizeBytes }: Taken, count: number): PlacedName[] {
  const number = segmentNumber(name, sizeBytes);
  if (number === undefined) return [];
  return Array.from({ length: count }, (_, index) => {
    return parseWalName(segmentName(name.timeline, number + 1 + index, sizeBytes));
  }).filter((next): next is PlacedName => next?.kind === "segment");
}
