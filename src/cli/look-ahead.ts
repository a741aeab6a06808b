/**
 * How a push is spared what was archived ahead of it, and the rest is archived ahead. Every failure
 * here means no more than that the file is pushed as if nobody had looked ahead.
 */
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { contentIdentity, Ledger } from "../ahead/ledger.ts";
import type { PrivatePlace } from "../ahead/private-place.ts";
import { waitingSegments } from "../ahead/shipper.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { isServerHere, purposeOf, startInBackground } from "./background.ts";
import type { ClientOptions } from "./options.ts";

/** What may be archived and not asked for, unless somebody says otherwise. */
export const LOOK_AHEAD_BYTES = 256 * 1024 * 1024;
/** Of fewer there is nothing to do side by side. */
const WAITING_MIN = 2;
const POLL_MS = 2;
/** Of a call's time; with the rest it does the work itself, should whoever is ahead be stuck. */
export const PATIENCE = 0.5;

export class LookAhead {
  readonly #ledger: Ledger;
  readonly #name: PlacedName;
  readonly #walDirectory: string;
  readonly #patienceMs: number;

  /** For a segment in a running server's `pg_wal`; `undefined` for everything else. */
  static for(
    path: string,
    options: ClientOptions & { readonly timeoutMs: number },
  ): LookAhead | undefined {
    const name = parseWalName(basename(path));
    const walDirectory = dirname(path);
    if (options.lookAheadBytes === 0 || name?.kind !== "segment") return undefined;
    if (basename(walDirectory) !== "pg_wal" || !isServerHere()) return undefined;
    const purpose = purposeOf(options);
    const ledger = purpose && Ledger.in(walDirectory, purpose);
    const patienceMs = options.timeoutMs * PATIENCE;
    return ledger && new LookAhead(ledger, name, { walDirectory, patienceMs });
  }

  get place(): PrivatePlace {
    return this.#ledger.place;
  }

  private constructor(
    ledger: Ledger,
    name: PlacedName,
    options: { readonly walDirectory: string; readonly patienceMs: number },
  ) {
    this.#ledger = ledger;
    this.#name = name;
    this.#walDirectory = options.walDirectory;
    this.#patienceMs = options.patienceMs;
  }

  /**
   * Whether the archive has confirmed this very file, by the word of the living process that sent
   * it. Waits a while for one that is on its way.
   */
  async isArchived(descriptor: number, signal: AbortSignal): Promise<boolean> {
    try {
      const { place } = this.#ledger;
      const [name, owner] = [this.#name.text, place.owner()];
      if (owner === undefined) {
        place.sweep();
        return false;
      }
      const identity = contentIdentity(descriptor);
      this.#ledger.ask(name);
      const endMs = performance.now() + this.#patienceMs;
      for (;;) {
        // Asked first: what is confirmed a moment later is not on its way any more.
        const isUnderWay = this.#ledger.isUnderWay(name);
        const confirmed = this.#ledger.confirmed(name);
        if (confirmed !== undefined) return confirmed === identity && place.owner() === owner;
        if (!isUnderWay || place.owner() !== owner || performance.now() > endMs) return false;
        await delay(POLL_MS, undefined, { signal });
      }
    } catch {
      return false;
    }
  }

  /** After the file could not be archived: nor is anything behind it, until it is. */
  giveUp(): void {
    try {
      if (this.#ledger.place.owner() !== undefined) this.#ledger.fail(this.#name.text);
    } catch {
      // Then they are archived before it.
    }
  }

  /**
   * After the file was archived: if there are others behind it, starts the process that has them
   * archived ahead and answers the calls for them. Where the daemon reads the files itself, it does
   * no more than answer.
   */
  async goOn(way: "sent" | "by-name", args: readonly string[]): Promise<void> {
    try {
      const { place } = this.#ledger;
      if (place.owner() !== undefined) return;
      const waiting = waitingSegments(this.#walDirectory).filter((name) => name > this.#name.text);
      if (waiting.length < WAITING_MIN) return;
      place.prepare();
      this.#ledger.ask(this.#name.text);
      const nothing = ["--look-ahead", "0"];
      await startInBackground("ship", way === "sent" ? args : [...args, ...nothing], place);
    } catch {
      // Then the next call tries.
    }
  }
}
