/** Holds: WAL that is kept because somebody said so, for good or until a time. */
import { WalarcError } from "../errors.ts";
import { type PlacedName, parseWalName } from "../wal/name.ts";
import { isServedMs } from "./service-time.ts";
import type { Fields } from "./state-object.ts";

export interface HoldRecord {
  readonly from: PlacedName;
  /** ISO 8601 in UTC; `undefined`: for good. */
  readonly until: string | undefined;
  /** How long it was to last when it was put, and when that was in the time of service. */
  readonly lastsMs: number | undefined;
  readonly putMs: number;
}

/** When a hold that is put now is to end; throws `usage` when that is over. */
export function requireFuture(end: Date | undefined): Pick<HoldRecord, "until" | "lastsMs"> {
  if (end === undefined) return { until: undefined, lastsMs: undefined };
  const until = end.toISOString();
  const lastsMs = end.getTime() - Date.now();
  if (lastsMs <= 0) throw new WalarcError("usage", `until ${until} is in the past`);
  return { until, lastsMs };
}

export function holdFields(record: HoldRecord): Fields {
  const { from, until, lastsMs, putMs } = record;
  return { from: from.text, until: until ?? null, lastsMs: lastsMs ?? null, putMs };
}

export function parseHold(fields: Fields): HoldRecord | undefined {
  const { until, lastsMs, putMs } = fields;
  const from = typeof fields["from"] === "string" ? parseWalName(fields["from"]) : undefined;
  if (from?.kind !== "segment" || !isServedMs(putMs)) return undefined;
  if (until === null && lastsMs === null) {
    return { from, until: undefined, lastsMs: undefined, putMs };
  }
  if (typeof until !== "string" || Number.isNaN(Date.parse(until))) return undefined;
  if (typeof lastsMs !== "number" || !(lastsMs >= 0)) return undefined;
  return { from, until, lastsMs, putMs };
}

/**
 * Whether the hold's time is over. The time of day alone may jump, so as much time must have been
 * served as the hold was to last; and the time of day must agree. As long as only one of them says
 * so, the hold is ending.
 */
export function phaseOf(
  hold: HoldRecord,
  now: { wallMs: number; servedMs: number },
): "holding" | "ending" | "over" {
  if (hold.until === undefined || hold.lastsMs === undefined) return "holding";
  const signs = [
    now.wallMs >= Date.parse(hold.until),
    now.servedMs - hold.putMs >= hold.lastsMs,
  ].filter(Boolean);
  return (["holding", "ending", "over"] as const)[signs.length] ?? "over";
}
