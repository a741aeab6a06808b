/**
 * The shipper: a process beside the server that archives the segments behind the one PostgreSQL's
 * archiver is at, several at a time. It only ever reads PostgreSQL's files, and fails nobody: what
 * it has not archived, the archiver's own call does, and tells what is wrong.
 */
import { closeSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Endpoint } from "../client/connection.ts";
import { Frames } from "../client/frames.ts";
import { openSourceFile } from "../client/source-file.ts";
import { upload } from "../client/upload.ts";
import { framesAtOnce } from "../client/zstd.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { contentIdentity, type Ledger } from "./ledger.ts";
import { postmasterPid } from "./postmaster.ts";
import { isThere, processIdentity } from "./process.ts";

const POLL_MS = 5;
/** How often to make sure that the server is there and this process wanted. */
const CHECK_MS = 100;
/** The directory of what is ready is read no more often, however many files it has. */
const SCAN_MS = 250;
const TURNS_MAX = 1_024;
/** The archiver has come to its end, or is stuck: then nothing goes on behind its back. */
const IDLE_MS = 10_000;
const ENTRUSTED_MS = 2_000;
const FRAMES_MAX = 4;
/** Beside those that are being compressed, some are on the network or being stored. */
const SENT_MAX = 2;
const STANDSTILL_MS = 10_000;
/** What was not asked for by then is sent again by whoever asks. */
const REMEMBERED_MS = 60_000;
const READY = ".ready";

export interface ShipOptions {
  readonly ledger: Ledger;
  /** This process, as `processIdentity` says it. */
  readonly identity: string;
  readonly endpoint: Endpoint;
  readonly cluster: string;
  readonly headers: Readonly<Record<string, string>>;
  /** How much may be archived and not asked for; 0: nothing is sent, calls are only answered. */
  readonly limitBytes: number;
  readonly walDirectory: string;
  readonly signal: AbortSignal;
}

/** The names of segments that wait to be archived, in the archiver's order (pgarch.c). */
export function waitingSegments(walDirectory: string): string[] {
  return readdirSync(join(walDirectory, "archive_status"))
    .filter((file) => file.endsWith(READY))
    .map((file) => file.slice(0, -READY.length))
    .filter((name) => parseWalName(name)?.kind === "segment")
    .sort();
}

/** Ships until the archiver stands still or the server is gone. Never rejects. */
export async function ship(options: ShipOptions): Promise<void> {
  const shipper = new Shipper(options);
  try {
    await shipper.run();
  } catch {
    // The ledger cannot be written, or pg_wal be read. Nobody is harmed.
  }
  await shipper.end();
}

class Shipper {
  readonly #options: ShipOptions;
  readonly #stop = new AbortController();
  readonly #frames = new Frames(FRAMES_MAX);
  readonly #underWay = new Map<string, Promise<void>>();
  /** When it was confirmed. */
  readonly #confirmedAtMs = new Map<string, number>();
  /** Confirmed long ago: left to whoever asks. */
  readonly #left = new Set<string>();
  /** Left as well, and nothing behind them goes before the archiver has got past them. */
  readonly #failed = new Set<string>();
  /** Waiting, as the directory was last seen, in order. */
  #turns: string[] = [];
  #scannedAtMs = Number.NEGATIVE_INFINITY;
  #asked: string | undefined;
  #askedAtMs = performance.now();
  /** Of the segments so far; they are all of one size. */
  #largestBytes = 1;
  #isOurs = false;

  constructor(options: ShipOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#stop.abort(), { once: true });
  }

  async run(): Promise<void> {
    const { ledger, identity } = this.#options;
    const startedAtMs = performance.now();
    const server = processIdentity(postmasterPid() ?? 0);
    for (let checkedAtMs = 0; ; ) {
      const nowMs = performance.now();
      if (nowMs - checkedAtMs >= CHECK_MS) {
        this.#isOurs = ledger.place.isOwnedBy(identity);
        const isAwaited = nowMs - startedAtMs < ENTRUSTED_MS && checkedAtMs === 0;
        if (!this.#isOurs && !isAwaited) return;
        if (server === undefined || !isThere(server)) return;
        if (this.#isOurs) checkedAtMs = nowMs;
      }
      if (this.#stop.signal.aborted || nowMs - this.#askedAtMs > IDLE_MS) return;
      if (this.#isOurs) this.#step(nowMs);
      await this.#pause();
    }
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#underWay.values());
    // Of a successor's ledger nothing is removed.
    const { ledger, identity } = this.#options;
    if (this.#isOurs && ledger.place.isOwnedBy(identity)) ledger.place.remove();
  }

  async #pause(): Promise<void> {
    try {
      await delay(POLL_MS, undefined, { signal: this.#stop.signal });
    } catch {
      // Told to stop: the loop sees it.
    }
  }

  #step(nowMs: number): void {
    const asked = this.#options.ledger.asked();
    if (asked === undefined) return;
    if (asked !== this.#asked) {
      this.#asked = asked;
      this.#askedAtMs = nowMs;
      this.#forget(asked, nowMs);
    }
    if (this.#options.limitBytes === 0) return;
    // Nobody need look, two hundred times a second, at a thousand names.
    if (this.#underWay.size >= this.#atOnce) return;
    const obstacle = this.#obstacle(asked);
    for (const name of this.#next(asked, nowMs)) {
      if (obstacle !== undefined && name.text >= obstacle) return;
      if (this.#left.has(name.text) || this.#confirmedAtMs.has(name.text)) continue;
      if (this.#underWay.has(name.text)) continue;
      if (this.#underWay.size >= this.#atOnce) return;
      if ((this.#countAhead(asked) + 1) * this.#largestBytes > this.#options.limitBytes) return;
      this.#begin(name);
    }
  }

  get #atOnce(): number {
    return framesAtOnce(this.#largestBytes, FRAMES_MAX) + SENT_MAX;
  }

  /** The first that the archive does not take: behind it there would be a gap. */
  #obstacle(asked: string): string | undefined {
    const failed = [this.#options.ledger.failed() ?? "", ...this.#failed];
    return failed.filter((name) => name >= asked).sort()[0];
  }

  /** How many are confirmed and not asked for, or on their way. */
  #countAhead(asked: string): number {
    const confirmed = [...this.#confirmedAtMs.keys()].filter((name) => name > asked);
    return confirmed.length + this.#underWay.size;
  }

  /** What the archiver comes to after `asked`. */
  #next(asked: string, nowMs: number): PlacedName[] {
    const isKnown = (name: string) => this.#confirmedAtMs.has(name) || this.#left.has(name);
    this.#turns = this.#turns.filter((name) => name > asked);
    const isUsedUp = this.#turns.every((name) => isKnown(name) || this.#underWay.has(name));
    if (isUsedUp && nowMs - this.#scannedAtMs >= SCAN_MS) {
      this.#scannedAtMs = nowMs;
      const waiting = waitingSegments(this.#options.walDirectory);
      this.#turns = waiting.filter((name) => name > asked).slice(0, TURNS_MAX);
    }
    return this.#turns
      .map((name) => parseWalName(name))
      .filter((name): name is PlacedName => name?.kind === "segment");
  }

  #forget(asked: string, nowMs: number): void {
    for (const [name, confirmedAtMs] of this.#confirmedAtMs) {
      // The call that asks for it now may be about to read it.
      if (name >= asked && nowMs - confirmedAtMs < REMEMBERED_MS) continue;
      this.#confirmedAtMs.delete(name);
      this.#options.ledger.place.discard(name);
      if (name >= asked) this.#left.add(name);
    }
    for (const name of this.#left) if (name < asked) this.#left.delete(name);
    for (const name of this.#failed) if (name < asked) this.#failed.delete(name);
  }

  #begin(name: PlacedName): void {
    const done = this.#ship(name).finally(() => this.#underWay.delete(name.text));
    this.#underWay.set(name.text, done);
  }

  async #ship(name: PlacedName): Promise<void> {
    const { ledger, endpoint, cluster, headers, walDirectory } = this.#options;
    let descriptor: number | undefined;
    try {
      const file = openSourceFile(join(walDirectory, name.text));
      ({ descriptor } = file);
      this.#largestBytes = Math.max(this.#largestBytes, file.stats.size);
      if (file.stats.size > this.#options.limitBytes) throw new Error("it is too large");
      const identity = contentIdentity(descriptor);
      ledger.begin(name.text);
      await upload({
        endpoint,
        cluster,
        name,
        file,
        headers,
        frames: this.#frames,
        signal: this.#stop.signal,
        idleTimeoutMs: STANDSTILL_MS,
      });
      if (contentIdentity(descriptor) !== identity) throw new Error("it has changed");
      ledger.confirm(name.text, identity);
      this.#confirmedAtMs.set(name.text, performance.now());
    } catch {
      this.#failed.add(name.text);
    } finally {
      ledger.end(name.text);
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }
}
