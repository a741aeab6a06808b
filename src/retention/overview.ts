/** What holds WAL back, for people and programs (contract, section 9). */
import type { PlacedName } from "../wal/name.ts";
import {
  type Claim,
  planRetention,
  removableBytes,
  removableFiles,
  type RetentionPlan,
} from "../wal/retention.ts";
import { segmentNumber } from "../wal/segment.ts";
import { endsOf, segmentsFrom, windowClaim } from "../wal/window.ts";
import { type Claimants, claimsOf, DAMAGED, type Standby, standbysOf, UNHEARD } from "./claims.ts";
import type { ReportSource, StandbyRecord } from "./standby.ts";

export interface ClaimStatus {
  readonly kind: string;
  readonly name: string;
  readonly from: string | null;
  /** Plain bytes archived from there on. */
  readonly heldBytes: number;
  /** Of a standby. */
  readonly reportedAt?: string | null;
  readonly stale?: boolean;
  /** A stale standby whose claim does not count any more. */
  readonly released?: true;
  /** Why everything is kept for it. */
  readonly doubt?: string;
}

export interface RetentionStatus {
  readonly claims: readonly ClaimStatus[];
  readonly horizon: string | null;
  readonly heldBy: readonly Pick<ClaimStatus, "kind" | "name">[];
  /** In one line: why nothing more is removed. */
  readonly explanation: string;
}

/** A standby as `walarc standby ls` shows it. */
export interface StandbyStatus {
  readonly name: string;
  readonly restartPoint: string | null;
  readonly reportedAt: string | null;
  readonly stale: boolean;
  readonly source: ReportSource;
  readonly heldBytes: number;
  /** It was found to be a primary, so it claims nothing. */
  readonly role?: "primary";
  readonly released?: true;
  /** Why nothing better is known. */
  readonly problem?: string;
}

export interface HoldStatus {
  readonly name: string;
  readonly from: string | null;
  readonly until: string | null;
  readonly problem?: string;
}

export function standbyStatuses(claimants: Claimants, register: Troubles): StandbyStatus[] {
  return standbysOf(claimants).map((standby) => standbyStatus(standby, claimants, register));
}

/** Knows why the daemon's question to a standby was in vain. */
export interface Troubles {
  troubleOf(standby: string): string | undefined;
}

function standbyStatus(standby: Standby, claimants: Claimants, register: Troubles): StandbyStatus {
  const { name, stale, source, released } = standby;
  const record = recordOf(standby);
  const claims = !released && record?.role !== "primary";
  const problem =
    standby.record === "damaged"
      ? DAMAGED
      : (register.troubleOf(name) ?? silence(standby) ?? tooLate(claimants, record));
  return {
    name,
    restartPoint: record?.restartPoint?.text ?? null,
    reportedAt: record?.reportedAt ?? null,
    stale,
    source,
    heldBytes: claims ? heldBytes(claimants, record?.restartPoint) : 0,
    ...(record?.role === "primary" ? { role: "primary" as const } : {}),
    ...(released ? { released: true as const } : {}),
    ...(problem === undefined ? {} : { problem }),
  };
}

function tooLate(claimants: Claimants, record: StandbyRecord | undefined): string | undefined {
  const from = record?.role === "standby" ? record.restartPoint : undefined;
  const problem = from === undefined ? undefined : lateness(claimants, from);
  return problem === undefined ? undefined : `its restart point is ${problem}`;
}

function silence({ record }: Standby): string | undefined {
  return record === undefined ? UNHEARD : undefined;
}

export function holdStatuses(claimants: Claimants): HoldStatus[] {
  const { holds } = claimants;
  const names = [...holds.keys()].sort();
  return names.map((name) => {
    const hold = holds.get(name);
    if (hold === undefined || hold === "damaged") {
      return { name, from: null, until: null, problem: DAMAGED };
    }
    const problem = lateness(claimants, hold.from);
    const status = { name, from: hold.from.text, until: hold.until ?? null };
    return problem === undefined ? status : { ...status, problem };
  });
}

/** Whoever asks for WAL that is not there should not believe that it is kept. */
function lateness(
  { catalog, removingUpTo }: Pick<Claimants, "catalog" | "removingUpTo">,
  from: PlacedName,
): string | undefined {
  if (removingUpTo !== undefined && from.position <= removingUpTo) {
    return "from where WAL is being removed just now, so some of it may be gone";
  }
  const [ends, size] = [endsOf(catalog), catalog.segmentSizeBytes];
  const number = size === undefined ? undefined : segmentNumber(from, size);
  if (ends === undefined || number === undefined || number >= ends.oldest) return undefined;
  const oldest = windowClaim(catalog, ends.oldest).text;
  return `from before the oldest archived segment, ${oldest}`;
}

export function retentionStatus(claimants: Claimants): RetentionStatus {
  const claims = claimsOf(claimants);
  const plan = planRetention(claimants.catalog, claims);
  return {
    claims: [...claimStatuses(claimants, { claims, plan }), ...releasedStatuses(claimants)],
    ...holdersOf(plan),
    explanation: explain(plan, claimants),
  };
}

export function holdersOf(plan: RetentionPlan): Pick<RetentionStatus, "horizon" | "heldBy"> {
  return {
    horizon: plan.horizon?.text ?? null,
    heldBy: plan.heldBy.map(({ kind, name }) => ({ kind, name })),
  };
}

/** Plain bytes of the archived segments from `from` on, or of all of them. */
export function heldBytes({ catalog }: Claimants, from: PlacedName | undefined): number {
  const size = catalog.segmentSizeBytes;
  if (size === undefined) return 0;
  const number = from === undefined ? 0 : (segmentNumber(from, size) ?? 0);
  return segmentsFrom(catalog, number) * size;
}

function claimStatuses(
  claimants: Claimants,
  { claims, plan }: { claims: readonly Claim[]; plan: RetentionPlan },
): ClaimStatus[] {
  const standbys = new Map(standbysOf(claimants).map((standby) => [standby.name, standby]));
  const doubts = new Map(plan.heldBy.map(({ kind, name, doubt }) => [`${kind} ${name}`, doubt]));
  return claims.map(({ kind, name, from }) => {
    const doubt = doubts.get(`${kind} ${name}`);
    return {
      kind,
      name,
      from: from?.text ?? null,
      heldBytes: heldBytes(claimants, doubt === undefined ? from : undefined),
      ...(kind === "standby" ? silenceOf(standbys.get(name)) : {}),
      ...(doubt === undefined ? {} : { doubt }),
    };
  });
}

function releasedStatuses(claimants: Claimants): ClaimStatus[] {
  const released = standbysOf(claimants).filter((standby) => standby.released);
  return released.map((standby) => ({
    kind: "standby",
    name: standby.name,
    from: recordOf(standby)?.restartPoint?.text ?? null,
    heldBytes: 0,
    ...silenceOf(standby),
    released: true,
  }));
}

function silenceOf(standby: Standby | undefined): Pick<ClaimStatus, "reportedAt" | "stale"> {
  return {
    reportedAt: (standby && recordOf(standby)?.reportedAt) ?? null,
    stale: standby?.stale ?? false,
  };
}

function recordOf({ record }: Standby) {
  return record === "damaged" ? undefined : record;
}

/** The one line that answers: why is the archive growing? */
export function explain(plan: RetentionPlan, claimants: Claimants): string {
  const [first, ...others] = plan.heldBy;
  if (first === undefined) {
    return "nothing is removed: no standby, base backup, window or hold claims any WAL";
  }
  const holder = `${describe(first, claimants)}${also(others.length)}`;
  if (plan.horizon === undefined) return `nothing is removed because of ${holder}`;
  const { catalog } = claimants;
  const number = segmentNumber(plan.horizon, catalog.segmentSizeBytes ?? 0) ?? 0;
  const segments = segmentsFrom(catalog, number);
  const kept = `${segments} segments (${inUnits(heldBytes(claimants, plan.horizon))})`;
  const files = removableFiles(plan);
  const size = inUnits(removableBytes(plan));
  const rest = files === 0 ? "" : `; ${files} older files (${size}) can be removed`;
  return `${holder} holds ${kept} from ${plan.horizon.text} on${rest}`;
}

function describe({ kind, name, doubt }: Claim, claimants: Claimants): string {
  const notes = doubt === undefined ? [] : [doubt];
  const standby =
    kind === "standby" ? standbysOf(claimants).find((one) => one.name === name) : undefined;
  if (standby !== undefined && recordOf(standby) !== undefined) {
    notes.push(
      `last heard from ${duration(standby.silentMs)} ago${standby.stale ? ", stale" : ""}`,
    );
  }
  return `${kind} "${name}"${notes.length === 0 ? "" : ` (${notes.join("; ")})`}`;
}

function also(others: number): string {
  return others === 0 ? "" : ` and ${others} other${others === 1 ? "" : "s"}`;
}

function inUnits(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** In the largest unit of which there are at least two. */
function duration(ms: number): string {
  const units = { d: 86_400_000, h: 3_600_000, min: 60_000, s: 1000 };
  for (const [unit, unitMs] of Object.entries(units)) {
    if (ms >= 2 * unitMs) return `${Math.floor(ms / unitMs)} ${unit}`;
  }
  return "moments";
}
