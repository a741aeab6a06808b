/**
 * How a fetch for PostgreSQL's recovery is served from the stock, and the stock kept filled. Every
 * failure here means no more than that the file is fetched as if there were no stock.
 */
import { lstatSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describeServer } from "../client/connection.ts";
import { isRecovering, postmasterPid } from "../prefetch/postmaster.ts";
import { processIdentity } from "../prefetch/process.ts";
import { Stock, type Taken } from "../prefetch/stock.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { segmentName, segmentNumber } from "../wal/segment.ts";
import { requireReplaceable } from "./delivery.ts";
import { identityHeader } from "./identity.ts";
import type { ClientOptions } from "./options.ts";
import { isStandbyHere } from "./setting.ts";

/** A download that does not grow for so long has lost its prefetcher, or will take too long. */
const STANDSTILL_MS = 2_000;
const POLL_MS = 2;
/** A standby that has restored one segment so recently is catching up, and wants the next ones. */
const CATCHING_UP_MS = 5_000;
/** The first process reaps whatever loses its parent. */
const REAPER_PID = 1;

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
    const server = postmasterPid();
    // As the first process of a container PostgreSQL inherits every process that loses its parent,
    // and takes one that is killed for a crashed backend (postmaster.c).
    if (server === undefined || server === REAPER_PID) return undefined;
    const stock = stockOf(dirname(destination), options);
    return stock && new Supply(stock, name, destination);
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
      const sizeBytes = await this.#take();
      if (sizeBytes === undefined) return false;
      if (!this.#stock.isOwned()) await this.#start({ name: this.#name, sizeBytes }, args);
      return true;
    } catch {
      return false;
    }
  }

  /** After the segment was fetched without the stock: goes on from there. */
  async follow(args: readonly string[]): Promise<void> {
    try {
      const taken = { name: this.#name, sizeBytes: statSync(this.#destination).size };
      if (this.#stock.isOwned()) this.#stock.note(taken);
      else if (!isStandbyHere() || this.#isCatchingUp(taken)) await this.#start(taken, args);
    } catch {
      // Then the next call tries.
    }
  }

  async #take(): Promise<number | undefined> {
    let [seenBytes, grownAtMs] = [-1, 0];
    for (;;) {
      // Asked first: what is whole a moment later is no part any more.
      const partBytes = this.#stock.partBytes(this.#name);
      const sizeBytes = this.#stock.take(this.#name, this.#destination);
      if (sizeBytes !== undefined || partBytes === undefined) return sizeBytes;
      const nowMs = performance.now();
      if (partBytes !== seenBytes) [seenBytes, grownAtMs] = [partBytes, nowMs];
      if (nowMs - grownAtMs > STANDSTILL_MS || !this.#stock.isOwned()) return undefined;
      await pause();
    }
  }

  #isCatchingUp({ name, sizeBytes }: Taken): boolean {
    const number = segmentNumber(name, sizeBytes) ?? 0;
    if (number === 0) return false;
    const previous = segmentName(name.timeline, number - 1, sizeBytes);
    const stats = lstatSync(join(dirname(this.#destination), previous), { throwIfNoEntry: false });
    return stats !== undefined && Math.abs(Date.now() - stats.mtimeMs) < CATCHING_UP_MS;
  }

  /**
   * Starts the prefetcher with the arguments of this call. It stays in the process group of the
   * server's startup process, which PostgreSQL signals as a whole when it shuts down, and has
   * nothing of the server's open files.
   */
  async #start(taken: Taken, args: readonly string[]): Promise<void> {
    const { spawn } = await import("node:child_process");
    this.#stock.prepare(taken);
    const [, script = ""] = process.argv;
    // In the standalone client the script is within the executable.
    const program = script.startsWith("/$bunfs/") ? [] : [script];
    const child = spawn(process.execPath, [...program, "prefetch", ...args], { stdio: "ignore" });
    child.once("error", () => {});
    child.unref();
    const identity = child.pid === undefined ? undefined : processIdentity(child.pid);
    if (identity !== undefined) this.#stock.entrust(identity);
  }
}

/** The stock that fits to these options and to this data directory. */
export function stockOf(walDirectory: string, options: ClientOptions): Stock | undefined {
  const { "Walarc-System-Identifier": systemIdentifier } = identityHeader();
  if (systemIdentifier === undefined) return undefined;
  const { caFile = "", certFile = "", keyFile = "" } = options.tls;
  const credentials = [options.token ?? "", caFile, certFile, keyFile];
  const source = [describeServer(options.server), options.cluster, ...credentials];
  return Stock.in(walDirectory, { systemIdentifier, source });
}

async function pause(): Promise<void> {
  await delay(POLL_MS, undefined, { signal: new AbortController().signal });
}
