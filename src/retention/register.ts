/**
 * Who needs which WAL of one cluster.
 *
 * Everything that decides or changes takes turns. So a restart point or a hold that was
 * acknowledged is known to every removal after it, also in the middle of a prune.
 */
import { WalarcError } from "../errors.ts";
import type { Signalled } from "../store/store.ts";
import type { PlacedName } from "../wal/name.ts";
import { type Claimants, type Standby, standbysOf } from "./claims.ts";
import { type HoldRecord, phaseOf, requireFuture } from "./hold.ts";
import { requireClaimantName } from "./keys.ts";
import type { Lease } from "./lease.ts";
import { goneUpTo } from "./lease-record.ts";
import type { RetentionPolicy } from "./policy.ts";
import { Records, type RecordsOwner } from "./records.ts";
import { ServiceTime } from "./service-time.ts";
import {
  isAhead,
  newsIn,
  type ReportSource,
  requireRestartPoint,
  requireSegment,
  type StandbyRecord,
} from "./standby.ts";

export interface RegisterOptions {
  readonly policy: RetentionPolicy;
  /** Names of the configured standbys, and how they are heard from. */
  readonly standbys: ReadonlyMap<string, ReportSource>;
  /** Names this daemon among those that share its store. */
  readonly daemon: string;
  /** For tests. */
  readonly time?: ServiceTime | undefined;
}

export class Register {
  readonly #owner: RecordsOwner;
  readonly #options: RegisterOptions;
  readonly #time: ServiceTime;
  readonly #records: Records;
  /** Where other daemons may remove WAL, too. */
  readonly #lease: Lease | undefined;
  /** Why a standby's own answer is missing, where the daemon asks for it. */
  readonly #troubles = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(owner: RecordsOwner, options: RegisterOptions & { lease: Lease | undefined }) {
    this.#owner = owner;
    this.#lease = options.lease;
    this.#options = options;
    this.#time = options.time ?? new ServiceTime();
    this.#records = new Records(owner, { time: this.#time, daemon: options.daemon });
  }

  /** All that claims are made of, as last read; `undefined` before that. Waits for no store. */
  get known(): Claimants | undefined {
    return this.#records.hasRead ? this.#claimants() : undefined;
  }

  /** The same, read first where that has not happened yet. */
  async load(options: Signalled): Promise<Claimants> {
    return this.known ?? (await this.decide((claimants) => claimants, options));
  }

  /**
   * Does something with claims just read, while none of them can change through this daemon. What
   * another acknowledges after `before`, or after the reading, may come too late.
   */
  async decide<T>(
    work: (claimants: Claimants) => T | Promise<T>,
    options: Signalled & { before?: () => Promise<void> },
  ): Promise<T> {
    return this.#inTurn(async () => {
      await options.before?.();
      await this.#records.read(options);
      return work(this.#claimants());
    }, options);
  }

  /** Reads what was told to other daemons. */
  async relearn(options: Signalled): Promise<void> {
    await this.#lease?.read(options);
    await this.decide(() => {}, options);
  }

  /** Why the daemon's question to a standby was in vain. */
  troubleOf(standby: string): string | undefined {
    return this.#troubles.get(standby);
  }

  /** Notes that a segment has just been archived. */
  arrived(number: number): void {
    this.#records.arrived(number);
  }

  /** Milliseconds served since the last prune, or ever. */
  get sincePruneMs(): number {
    return this.#time.now() - this.#records.prunedMs;
  }

  /** Notes segments that another daemon has archived not long ago. */
  arrivedElsewhere(lowest: number, highest: number): void {
    this.#records.arrivedElsewhere(lowest, highest);
  }

  /** Notes that a prune has just ended. */
  pruned(): void {
    this.#records.prunedMs = this.#time.now();
  }

  /** Looks at the clock, every few seconds. */
  tick(): void {
    this.#time.now();
  }

  /** Resolves once it is durable. Rejects with `usage` or `rejected`, and nothing is changed. */
  async report(
    standby: string,
    restartPoint: string,
    options: Signalled & { source: ReportSource },
  ): Promise<Standby> {
    requireClaimantName("standby", standby);
    const { catalog } = this.#owner;
    if (isAhead(catalog, restartPoint)) await this.#owner.relearnEnds(options);
    const name = requireRestartPoint(catalog, restartPoint);
    return this.#change(async () => {
      const news = newsIn(this.#records.standbys.get(standby), name);
      if (news !== undefined) this.#log(news.message, { standby, ...news.fields });
      const record = { restartPoint: name, source: options.source, role: "standby" } as const;
      await this.#put(standby, record, options);
      await this.#lookBack({ standby, from: name }, options);
      return this.#requireStandby(standby);
    }, options);
  }

  /** The daemon asked a standby and found a primary: it claims nothing until it reports again. */
  async reportPrimary(standby: string, options: Signalled): Promise<void> {
    await this.#change(async () => {
      const known = this.#records.standbys.get(standby);
      const earlier = known === "damaged" ? undefined : known;
      this.#troubles.delete(standby);
      if (earlier?.role === "primary") return;
      const restartPoint = earlier?.restartPoint;
      await this.#put(standby, { restartPoint, source: "sql", role: "primary" }, options);
      this.#log("standby is a primary and claims nothing", { standby });
    }, options);
  }

  /** The daemon asked a standby in vain: its claim stays what it was. */
  reportTrouble(standby: string, why: string): void {
    if (this.#troubles.get(standby) === why) return;
    this.#troubles.set(standby, why);
    const fields = { cluster: this.#owner.name, standby, why };
    this.#owner.log.warn(fields, "standby does not tell its restart point");
  }

  /** Rejects with `absent` when nothing is remembered of it. */
  async forget(standby: string, options: Signalled): Promise<void> {
    requireClaimantName("standby", standby);
    await this.decide(async () => {
      if (!this.#records.standbys.has(standby)) throw absent("standby", standby);
      await this.#records.removeStandby(standby, options);
      this.#log("standby forgotten", { standby });
    }, options);
  }

  /**
   * Puts a hold, or another one in its place. Resolves once it is durable. Rejects with `usage` or
   * `rejected`.
   */
  async putHold(
    hold: string,
    options: Signalled & { from: string; until: Date | undefined },
  ): Promise<HoldRecord> {
    requireClaimantName("hold", hold);
    const from = requireSegment(this.#owner.catalog, options.from, "from");
    const ends = requireFuture(options.until);
    return this.#change(async () => {
      await this.#records.agreeOnTime(options);
      const record = { from, ...ends, putMs: this.#time.now() };
      await this.#records.putHold(hold, record, options);
      this.#log("hold put", { hold, from: from.text, until: ends.until });
      await this.#lookBack({ hold, from }, options);
      return record;
    }, options);
  }

  /** Rejects with `absent` when there is no such hold. */
  async removeHold(hold: string, options: Signalled): Promise<void> {
    requireClaimantName("hold", hold);
    await this.decide(async () => {
      if (!this.#records.holds.has(hold)) throw absent("hold", hold);
      await this.#records.removeHold(hold, options);
      this.#log("hold removed", { hold });
    }, options);
  }

  /** Removes the holds whose time is over. */
  async tidy(options: Signalled): Promise<void> {
    const { holds, now } = await this.load(options);
    const isAnyOver = holds
      .values()
      .some((hold) => hold !== "damaged" && phaseOf(hold, now) === "over");
    if (!isAnyOver) return;
    await this.decide(async ({ holds, now }) => {
      for (const [hold, record] of holds) {
        if (record === "damaged" || phaseOf(record, now) !== "over") continue;
        await this.#records.removeHold(hold, options);
        this.#log("hold ended", { hold, until: record.until });
      }
    }, options);
  }

  /** Writes down how long the archive was served; soon after the last time only when `atOnce`. */
  async save(options: Signalled & { atOnce?: true }): Promise<void> {
    await this.#inTurn(() => this.#records.saveService(options), options);
  }

  async #put(
    standby: string,
    told: Pick<StandbyRecord, "restartPoint" | "source" | "role">,
    options: Signalled,
  ): Promise<void> {
    const reportedAt = new Date().toISOString();
    const record = { ...told, reportedAt, heardMs: this.#time.now() };
    await this.#records.putStandby(standby, record, options);
    this.#troubles.delete(standby);
  }

  /**
   * Whether a claim that stands now came too late for another daemon's prune. That has written down
   * how far it goes before it read the claims, so it has seen this one or shows here.
   */
  async #lookBack(
    { from, ...who }: { from: PlacedName; standby?: string; hold?: string },
    options: Signalled,
  ): Promise<void> {
    if (this.#lease === undefined) return;
    const gone = goneUpTo(await this.#lease.read(options));
    if (gone === undefined || from.position > gone) return;
    await this.#owner.relearn(gone, options);
    this.#log("claim on WAL that may have been removed", { ...who, from: from.text });
  }

  #log(message: string, fields: object): void {
    this.#owner.log.info({ cluster: this.#owner.name, ...fields }, message);
  }

  #requireStandby(name: string): Standby {
    const found = standbysOf(this.#claimants()).find((standby) => standby.name === name);
    if (found === undefined) throw new Error(`standby "${name}" was just put`);
    return found;
  }

  #claimants(): Claimants {
    return {
      catalog: this.#owner.catalog,
      policy: this.#options.policy,
      standbys: this.#records.standbys,
      configured: this.#options.standbys,
      troubled: new Set(this.#troubles.keys()),
      holds: this.#records.holds,
      arrivals: this.#records.arrivals,
      listening: this.#records.listening,
      removingUpTo: this.#lease?.known.removingUpTo,
      now: {
        wallMs: Date.now(),
        servedMs: this.#time.now(),
        sinceStartMs: this.#time.sinceStart(),
      },
    };
  }

  /** Changes one record, whatever the others may be by now. */
  async #change<T>(work: () => Promise<T>, options: Signalled): Promise<T> {
    return this.#inTurn(async () => {
      if (!this.#records.hasRead) await this.#records.read(options);
      return work();
    }, options);
  }

  async #inTurn<T>(work: () => T | Promise<T>, { signal }: Signalled): Promise<T> {
    const turn = this.#turn.then(() => {
      signal.throwIfAborted();
      return work();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

function absent(kind: "standby" | "hold", name: string): WalarcError {
  return new WalarcError("absent", `there is no ${kind} "${name}"`);
}
