/** Everything that claims WAL of one cluster, gathered. Pure: reads no store and no clock. */
import { type Arrivals, timeWindowStart } from "../wal/arrivals.ts";
import type { Catalog } from "../wal/catalog.ts";
import { parseWalName } from "../wal/name.ts";
import type { Claim } from "../wal/retention.ts";
import { bytesWindowStart, endsOf, windowClaim } from "../wal/window.ts";
import { type HoldRecord, phaseOf } from "./hold.ts";
import type { Listening } from "./listening.ts";
import type { RetentionPolicy } from "./policy.ts";
import type { ReportSource, StandbyRecord } from "./standby.ts";

/** Doubts that keep everything. */
export const DAMAGED = "what the store says of it cannot be understood";
export const UNHEARD = "it was never heard from";
export const LOST_PRIMARY = "it was a primary when it last answered, and may be a standby by now";

/** What the claims are made of. */
export interface Claimants {
  readonly catalog: Catalog;
  readonly policy: RetentionPolicy;
  readonly standbys: ReadonlyMap<string, StandbyRecord | "damaged">;
  /** Names of the configured standbys, and how they are heard from. */
  readonly configured: ReadonlyMap<string, ReportSource>;
  /** Names of those that the daemon asks in vain just now. */
  readonly troubled: ReadonlySet<string>;
  readonly holds: ReadonlyMap<string, HoldRecord | "damaged">;
  readonly arrivals: Arrivals;
  /** How long this very daemon has had no news of a standby. */
  readonly listening: Pick<Listening, "silentMs">;
  /** Where several daemons remove: up to which position WAL may be going just now. */
  readonly removingUpTo: string | undefined;
  readonly now: Now;
}

export interface Now {
  readonly wallMs: number;
  /** Milliseconds that walarc has served, ever and since this daemon started. */
  readonly servedMs: number;
  readonly sinceStartMs: number;
}

/** A standby, heard from or only configured. */
export interface Standby {
  readonly name: string;
  readonly record: StandbyRecord | "damaged" | undefined;
  readonly source: ReportSource;
  readonly silentMs: number;
  /** Silent for longer than the policy finds normal. */
  readonly stale: boolean;
  /** Its claim does not count, because the policy says so of stale standbys. */
  readonly released: boolean;
  /** The daemon asks it in vain just now. */
  readonly isTroubled: boolean;
}

/** All of them by name, whether they claim anything or not. */
export function standbysOf(claimants: Claimants): Standby[] {
  const { standbys, configured } = claimants;
  const names = [...new Set([...standbys.keys(), ...configured.keys()])].sort();
  return names.map((name) => standbyOf(claimants, name));
}

function standbyOf(
  { standbys, configured, troubled, policy, listening, now }: Claimants,
  name: string,
): Standby {
  const record = standbys.get(name);
  const isRecord = record !== undefined && record !== "damaged";
  const listened = listening.silentMs(name);
  const toldMs = isRecord ? Math.max(0, now.servedMs - record.heardMs) : now.sinceStartMs;
  const silentMs = listened.isSinceNews ? Math.min(toldMs, listened.silentMs) : toldMs;
  const isStandby = !isRecord || record.role === "standby";
  return {
    name,
    record,
    source: isRecord ? record.source : (configured.get(name) ?? "report"),
    silentMs,
    stale: isStandby && silentMs >= policy.staleAfterMs,
    // Only silence that this very daemon has listened to counts: nothing rests on a number read
    // from a file. Who was never heard from, or cannot be read, is never released.
    released:
      isRecord &&
      isStandby &&
      policy.stalePolicy === "release" &&
      Math.min(silentMs, listened.silentMs, now.sinceStartMs) >= policy.staleAfterMs,
    isTroubled: troubled.has(name),
  };
}

/** The claims that count now: standbys, base backups, windows, holds. */
export function claimsOf(claimants: Claimants): Claim[] {
  return [
    ...standbysOf(claimants).flatMap(standbyClaim),
    ...backupClaims(claimants),
    ...windowClaims(claimants),
    ...holdClaims(claimants),
  ];
}

function standbyClaim({ name, record, released, isTroubled }: Standby): Claim[] {
  const claim = { kind: "standby", name } as const;
  if (record === undefined) {
    return [{ ...claim, from: undefined, doubt: UNHEARD }];
  }
  if (record === "damaged") return [{ ...claim, from: undefined, doubt: DAMAGED }];
  // What nobody can ask may have failed back meanwhile, and need WAL again.
  if (record.role === "primary" && isTroubled) {
    return [{ ...claim, from: undefined, doubt: LOST_PRIMARY }];
  }
  if (record.role === "primary" || released) return [];
  return [{ ...claim, from: record.restartPoint }];
}

/** The newest are those that start highest. */
function backupClaims({ catalog, policy }: Claimants): Claim[] {
  const backups = catalog.otherNames().filter((name) => name.endsWith(".backup"));
  backups.sort((a, b) => (a.slice(8) < b.slice(8) ? 1 : a.slice(8) > b.slice(8) ? -1 : 0));
  return backups.slice(0, policy.keepBackups).map((name) => {
    const from = parseWalName(name.slice(0, 24));
    return { kind: "backup", name, from: from?.kind === "segment" ? from : undefined };
  });
}

function windowClaims({ catalog, policy, arrivals }: Claimants): Claim[] {
  const claims: Claim[] = [];
  const claim = (name: string, start: number | undefined) => {
    claims.push(windowFrom(catalog, name, start));
  };
  const { keepForMs, keepBytes } = policy;
  if (keepForMs !== undefined) claim("keep_for", timeWindowStart(arrivals, keepForMs));
  if (keepBytes !== undefined) claim("keep_bytes", bytesWindowStart(catalog, keepBytes));
  return claims;
}

function windowFrom(catalog: Catalog, name: string, start: number | undefined): Claim {
  const ends = endsOf(catalog);
  if (start === undefined || ends === undefined) {
    return { kind: "window", name, from: undefined, doubt: "no segment is archived yet" };
  }
  const number = Math.min(Math.max(start, ends.oldest), ends.newest);
  return { kind: "window", name, from: windowClaim(catalog, number) };
}

function holdClaims({ holds, now }: Claimants): Claim[] {
  const claims: Claim[] = [];
  for (const [name, hold] of holds) {
    if (hold === "damaged") claims.push({ kind: "hold", name, from: undefined, doubt: DAMAGED });
    if (hold === "damaged") continue;
    const phase = phaseOf(hold, now);
    if (phase === "over") continue;
    const isEnding = phase === "ending" ? { isEnding: true as const } : {};
    claims.push({ kind: "hold", name, from: hold.from, ...isEnding });
  }
  return claims;
}
