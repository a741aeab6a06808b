/**
 * How a fetch for PostgreSQL's recovery is served from the stock, and the stock kept filled. Every
 * failure here means no more than that the file is fetched as if there were no stock.
 */
import { lstatSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isRecovering } from "../ahead/postmaster.ts";
import type { PrivatePlace } from "../ahead/private-place.ts";
import { Stock, type Taken } from "../ahead/stock.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { segmentName, segmentNumber } from "../wal/segment.ts";
import { isServerHere, purposeOf, startInBackground } from "./background.ts";
import { requireReplaceable } from "./delivery.ts";
import type { ClientOptions } from "./options.ts";
import { isStandbyHere } from "./setting.ts";

/** A download that does not grow for so long has lost its prefetcher, or will take too long. */
const STANDSTILL_MS = 2_000;
const POLL_MS = 2;
/** A standby that has restored one segment so recently is catching up, and wants the next ones. */
const CATCHING_UP_MS = 5_000;

export class Supply {
  readonly #stock: Stock;
  readonly #name: PlacedName;
  readonly #destination: string;

  /**
   * For a segment that a recovering server asks for. `undefined` for everybody else, such as
   * pg_rewind, and where prefetching is off.
   */
  static for(nameText: string, destination: string, options: ClientOptions): Supply | undefined {
    const name = parseWalName(nameText);
    if (options.prefetchBytes === 0 || basename(destination) !== "RECOVERYXLOG") return undefined;
    if (name?.kind !== "segment" || !isRecovering()) return undefined;
    if (!isServerHere()) return undefined;
    const purpose = purposeOf(options);
    const stock = purpose && Stock.in(dirname(destination), purpose);
    return stock && new Supply(stock, name, destination);
  }

  get place(): PrivatePlace {
    return this.#stock.place;
  }

  private constructor(stock: Stock, name: PlacedName, destination: string) {
    this.#stock = stock;
    this.#name = name;
    this.#destination = destination;
  }

  /**
   * Puts the segment in place if it is in stock, or arrives there shortly. Resolves to whether it
   * is in place.
   */
  async deliver(args: readonly string[]): Promise<boolean> {
    try {
      requireReplaceable(this.#destination);
      const take = () => this.#stock.take(this.#name, this.#destination);
      const sizeBytes = await this.#arrived(take, new AbortController().signal);
      const hasOwner = this.#stock.place.owner() !== undefined;
      if (sizeBytes === undefined) {
        // Of no use without the next ones, and nobody else would ever remove it.
        if (!hasOwner) this.#stock.place.sweep();
        return false;
      }
      if (!hasOwner) await this.#start({ name: this.#name, sizeBytes }, args);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * As `deliver`, by the process that fills the stock, for a caller that does the rename itself.
   * Resolves to where the segment is, or `undefined` when it is to be fetched. Rejects with `local`
   * where nothing may be put.
   */
  async offer(signal: AbortSignal): Promise<string | undefined> {
    requireReplaceable(this.#destination);
    const sizeBytes = await this.#arrived(() => this.#stock.offer(this.#name), signal);
    return sizeBytes === undefined ? undefined : this.#stock.pathOf(this.#name);
  }

  /** After the segment was fetched without the stock: goes on from there. */
  async follow(args: readonly string[]): Promise<void> {
    try {
      const taken = { name: this.#name, sizeBytes: statSync(this.#destination).size };
      if (this.#stock.place.owner() !== undefined) this.#stock.note(taken);
      else if (!isStandbyHere() || this.#isCatchingUp(taken)) await this.#start(taken, args);
    } catch {
      // Then the next call tries.
    }
  }

  /** What `take` returns, once nothing of the segment is on its way any more. */
  async #arrived(take: () => number | undefined, signal: AbortSignal): Promise<number | undefined> {
    let [seen, grownAtMs] = ["", 0];
    for (;;) {
      // Asked first: what is whole a moment later is no part any more.
      const part = this.#stock.partState(this.#name);
      const sizeBytes = take();
      if (sizeBytes !== undefined || part === undefined) return sizeBytes;
      const nowMs = performance.now();
      if (part !== seen) [seen, grownAtMs] = [part, nowMs];
      if (nowMs - grownAtMs > STANDSTILL_MS || this.#stock.place.owner() === undefined)
        return undefined;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  #isCatchingUp({ name, sizeBytes }: Taken): boolean {
    const number = segmentNumber(name, sizeBytes) ?? 0;
    if (number === 0) return false;
    const previous = segmentName(name.timeline, number - 1, sizeBytes);
    const stats = lstatSync(join(dirname(this.#destination), previous), { throwIfNoEntry: false });
    return stats !== undefined && Math.abs(Date.now() - stats.mtimeMs) < CATCHING_UP_MS;
  }

  async #start(taken: Taken, args: readonly string[]): Promise<void> {
    this.#stock.place.prepare();
    this.#stock.note(taken);
    await startInBackground("prefetch", args, this.#stock.place);
  }
}
