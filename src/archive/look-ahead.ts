/**
 * Archiving what PostgreSQL will ask for next. It calls its archive_command for one WAL file after
 * the other, however many are waiting; here the next ones are read and stored side by side while it
 * is at the first.
 */
import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { WalarcError } from "../errors.ts";
import { abortable, withDeadline } from "../lifecycle.ts";
import { parseWalName, type WalName } from "../wal/name.ts";
import { compareTurns, Turns } from "../wal/turns.ts";
import type { LocalWal } from "./local-wal.ts";
import type { PushOptions, PushResult } from "./push.ts";

/** More than processors would only wait for each other. */
const READ_AT_ONCE = Math.min(4, availableParallelism());
/** While one waits for the disk the processors have another; a place stays for a real call. */
const UNDER_WAY_MAX = READ_AT_ONCE + 1;
/** So much may be archived and not asked for; at least one file, whatever its size. */
const AHEAD_FILES_MAX = 32;
const AHEAD_BYTES_MAX = 512 * 1024 * 1024;
/** Names remembered of one reading of the directory: a long backlog is not read anew per file. */
const TURNS_MAX = 1024;
/** The directory is read no more often, however quickly the calls come, */
const SCAN_PAUSE_MS = 100;
/** and so that reading it takes a twentieth of a processor at most: it also holds what is done. */
const SCAN_SHARE = 20;
/** What was not asked for by then is compared with the store like any other file. */
const REMEMBERED_MS = 60_000;
/** Longer than any call waits for it. */
const DEADLINE_MS = 55_000;
/** To be halted at: whatever is archived next shows that it goes on. */
const ANY_NAME = "";
/** A disk that hangs does not keep the daemon from stopping for longer. */
const STOP_MS_MAX = 2000;

/** A file that is being archived, or is and was not asked for yet. */
interface Ahead {
  readonly name: WalName;
  /** Known once it is open: which file it is. */
  identity: string | undefined;
  sizeBytes: number;
  /** And compressed: what is left is to make it durable. */
  isRead: boolean;
  /** Never rejects: a failure is told to whoever asks for the file, by failing again. */
  outcome: Promise<PushResult | undefined>;
  /** When it became durable, in ms of the monotonic clock. */
  doneMs: number | undefined;
}

export interface LookAheadOptions {
  readonly localWal: LocalWal;
  /** As `pushAhead`. */
  readonly push: (
    name: WalName,
    body: AsyncIterable<Buffer>,
    options: PushOptions,
  ) => Promise<PushResult | undefined>;
  readonly log: { debug(fields: object, message: string): void };
}

/**
 * The look-ahead of one cluster. It goes on from call to call and no further: a server whose
 * archiver stands still has nothing archived behind its back. Only what has a `.ready` is touched,
 * and PostgreSQL's own files never.
 */
export class LookAhead implements AsyncDisposable {
  readonly #options: LookAheadOptions;
  readonly #stop = new AbortController();
  /** Names that were ready at the last scan and whose turn has not come, in order. */
  #turns: string[] = [];
  /** How many more there were. */
  #passedTurns = 0;
  readonly #ahead = new Map<string, Ahead>();
  /** Being pushed by a call of their own. */
  readonly #asked = new Set<string>();
  /** Tried, or archived long ago: these are left until somebody asks for them. */
  readonly #left = new Set<string>();
  #systemIdentifier: string | undefined;
  /** No scan before that. */
  #nextScanMs = Number.NEGATIVE_INFINITY;
  /** Nothing is begun until a call for this name, or for one whose turn is later, has succeeded. */
  #haltedAt: string | undefined;
  #isFilling = false;
  /** Until they have really ended, and not only been given up. */
  readonly #pushes = new Set<Promise<unknown>>();

  constructor(options: LookAheadOptions) {
    this.#options = options;
  }

  /**
   * Notes that PostgreSQL asks for the file, as long as `archive` is at it, and goes on with those
   * behind it. Resolves and rejects as `archive` does.
   */
  async whileAsked<T>(
    name: WalName,
    options: { systemIdentifier: string | undefined; archive: () => Promise<T> },
  ): Promise<T> {
    this.#systemIdentifier = options.systemIdentifier;
    this.#left.delete(name.text);
    this.#asked.add(name.text);
    this.#goOn();
    try {
      const result = await options.archive();
      this.#lift(name.text);
      return result;
    } catch (error) {
      // PostgreSQL tries again, and goes no further: a gap would stay as long as it does.
      this.#halt(name.text, error);
      throw error;
    } finally {
      this.#asked.delete(name.text);
      this.#goOn();
    }
  }

  /**
   * How archiving that very file ahead has ended, once it has; `undefined` when it was not tried,
   * did not succeed, was another file or is long ago. Rejects with the signal's reason. What is
   * taken is forgotten: the next call is as good as any.
   */
  async take(
    name: WalName,
    options: { identity: string; signal: AbortSignal },
  ): Promise<PushResult | undefined> {
    const ahead = this.#ahead.get(name.text);
    if (ahead === undefined) return undefined;
    const result = await abortable(ahead.outcome, options.signal);
    this.#forget(ahead);
    return ahead.identity === options.identity && isFresh(ahead) ? result : undefined;
  }

  /** The end of archiving the file, while that is under way. Never rejects. */
  underWay(name: WalName): Promise<unknown> | undefined {
    const ahead = this.#ahead.get(name.text);
    return ahead?.doneMs === undefined ? ahead?.outcome : undefined;
  }

  /** WAL files that waited at the last scan and are not archived yet. */
  get backlog(): number {
    return this.#turns.length + this.#passedTurns;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    const ended = Promise.allSettled(this.#pushes);
    await Promise.race([ended, delay(STOP_MS_MAX, undefined, { ref: false })]);
  }

  #forget(ahead: Ahead): void {
    if (this.#ahead.get(ahead.name.text) === ahead) this.#ahead.delete(ahead.name.text);
  }

  #goOn(): void {
    if (!this.#isFilling) void this.#fill();
  }

  async #fill(): Promise<void> {
    this.#isFilling = true;
    try {
      while (this.#hasRoom()) {
        if (this.#turns.length === 0 && !(await this.#scan())) return;
        const text = this.#turns.shift();
        const name = text === undefined ? undefined : parseWalName(text);
        if (name !== undefined && !this.#isKnown(name.text)) this.#begin(name);
      }
    } catch (error) {
      this.#halt(ANY_NAME, error);
    } finally {
      this.#isFilling = false;
    }
  }

  #halt(text: string, error: unknown): void {
    const at = this.#haltedAt;
    if (at === undefined || compareTurns(text, at) >= 0) this.#haltedAt = text;
    this.#options.log.debug({ err: error }, "nothing is archived ahead for now");
  }

  #lift(text: string): void {
    const at = this.#haltedAt;
    if (at === undefined || at === ANY_NAME || compareTurns(text, at) >= 0)
      this.#haltedAt = undefined;
  }

  #hasRoom(): boolean {
    if (this.#stop.signal.aborted || this.#haltedAt !== undefined) return false;
    // Nobody has come for them, and nobody need: they would take the place of others for ever.
    for (const ahead of this.#ahead.values()) if (!isFresh(ahead)) this.#forget(ahead);
    const all = [...this.#ahead.values()];
    const bytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const underWay = all.filter(({ doneMs }) => doneMs === undefined);
    const reading = underWay.filter(({ isRead }) => !isRead).length;
    if (reading >= READ_AT_ONCE || underWay.length >= UNDER_WAY_MAX) return false;
    return all.length < AHEAD_FILES_MAX && bytes < AHEAD_BYTES_MAX;
  }

  #isKnown(text: string): boolean {
    return this.#asked.has(text) || this.#ahead.has(text) || this.#left.has(text);
  }

  /** Reads the directory; whether there is anything new in it. */
  async #scan(): Promise<boolean> {
    const begunMs = performance.now();
    if (begunMs < this.#nextScanMs) return false;
    const turns = new Turns(TURNS_MAX);
    const stillReady = new Set<string>();
    for await (const text of this.#options.localWal.ready()) {
      if (this.#isKnown(text)) stillReady.add(text);
      else if (parseWalName(text) !== undefined) turns.offer(text);
    }
    for (const text of this.#left) if (!stillReady.has(text)) this.#left.delete(text);
    for (const ahead of this.#ahead.values()) {
      // Archived in another way, or never asked for.
      if (ahead.doneMs !== undefined && !stillReady.has(ahead.name.text)) this.#forget(ahead);
    }
    this.#turns = turns.inTurn();
    this.#passedTurns = turns.passed;
    const endMs = performance.now();
    this.#nextScanMs = endMs + Math.max(SCAN_PAUSE_MS, SCAN_SHARE * (endMs - begunMs));
    return this.#turns.length > 0;
  }

  #begin(name: WalName): void {
    const ahead: Ahead = {
      name,
      identity: undefined,
      sizeBytes: 0,
      isRead: false,
      outcome: Promise.resolve(undefined),
      doneMs: undefined,
    };
    this.#ahead.set(name.text, ahead);
    ahead.outcome = this.#archive(ahead);
  }

  async #archive(ahead: Ahead): Promise<PushResult | undefined> {
    const { name } = ahead;
    let result: PushResult | undefined;
    try {
      result = await withDeadline((signal) => this.#tracked(this.#push(ahead, signal)), {
        deadlineMs: DEADLINE_MS,
        expired: () => new Error("the look-ahead took too long"),
        signal: this.#stop.signal,
      });
    } catch (error) {
      // A store that takes nothing will not take the next one either.
      this.#halt(name.text, error);
    }
    ahead.doneMs = performance.now();
    if (result === undefined) {
      this.#forget(ahead);
      this.#left.add(name.text);
    }
    this.#goOn();
    return result;
  }

  async #push(ahead: Ahead, signal: AbortSignal): Promise<PushResult | undefined> {
    const { localWal, push } = this.#options;
    const { name } = ahead;
    await using file = await localWal.open(name.text);
    if (!(await localWal.isReady(name.text))) return undefined;
    ahead.identity = file.identity;
    ahead.sizeBytes = file.sizeBytes;
    const { sizeBytes } = file;
    const systemIdentifier = this.#systemIdentifier;
    const body = this.#whileReady(ahead, file.chunks());
    return await push(name, body, { sizeBytes, systemIdentifier, signal });
  }

  /** The same bytes; nothing is published of a file that has meanwhile lost its `.ready`. */
  async *#whileReady(ahead: Ahead, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const { name } = ahead;
    yield* body;
    ahead.isRead = true;
    this.#goOn();
    if (await this.#options.localWal.isReady(name.text)) return;
    throw new WalarcError("usage", `${name.text} is not ready any more`);
  }

  #tracked<T>(push: Promise<T>): Promise<T> {
    const ended = push.finally(() => this.#pushes.delete(ended));
    this.#pushes.add(ended);
    return ended;
  }
}

function isFresh({ doneMs }: Ahead): boolean {
  return doneMs === undefined || performance.now() - doneMs < REMEMBERED_MS;
}
