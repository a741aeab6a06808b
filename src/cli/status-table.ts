import type { ClusterStatus } from "../archive/status.ts";
import { formatAge, formatBytes, formatCount, formatFacts } from "./columns.ts";
import { spoolFacts } from "./spool-facts.ts";

type Fact = readonly [label: string, value: string];

/** A cluster's status for people; what needs attention stands in capitals. */
export function formatStatus(status: ClusterStatus, now: Date): string {
  return formatFacts([
    ["cluster", status.cluster],
    ["system identifier", status.systemIdentifier ?? "not known yet"],
    [
      "segment size",
      status.segmentSizeBytes === null ? "not known yet" : formatBytes(status.segmentSizeBytes),
    ],
    ["latest segment", formatLatest(status, now)],
    ["stored", formatStored(status)],
    ...status.timelines.flatMap(timelineFacts),
    ...gapSummary(status),
    ...damageFacts(status),
    ...spoolFacts(status, now),
    ...claimFacts(status, now),
  ]);
}

/** In the place of a status, when the cluster cannot tell it. */
export function formatTrouble(cluster: string, problem: { code: string; detail: string }): string {
  return formatFacts([
    ["cluster", cluster],
    ["TROUBLE", `${problem.code}: ${problem.detail}`],
  ]);
}

function formatLatest({ latest }: ClusterStatus, now: Date): string {
  if (latest === null) return "none";
  if (latest.archivedAt === null) return latest.name;
  const age = formatAge(now.getTime() - Date.parse(latest.archivedAt));
  return `${latest.name}, archived ${age} ago (${latest.archivedAt})`;
}

function formatStored({ stored }: ClusterStatus): string {
  const size = `${formatBytes(stored.bytes)} (${formatBytes(stored.plainBytes)} plain)`;
  const counting = stored.counting === true ? ", still counting" : "";
  return `${formatCount(stored.files, "file")}, ${size}${counting}`;
}

/** Ranges and gaps of a timeline, in the order of their names. */
function timelineFacts(timeline: ClusterStatus["timelines"][number]): Fact[] {
  const { parent, switchLsn } = timeline;
  const lines = [
    ...timeline.ranges.map(({ first, last, segments }) => ({
      place: first,
      text: `${first}${first === last ? "" : ` to ${last}`}, ${formatCount(segments, "segment")}`,
    })),
    ...timeline.gaps.map(({ after, before, segments }) => ({
      place: after ?? "",
      text: `GAP of ${formatCount(segments, "segment")} ${gapBounds(after, before)}`,
    })),
  ].sort(byPlace);
  const origin = parent === null ? [] : [`left timeline ${parent} at ${switchLsn ?? "?"}`];
  return [...origin, ...lines.map(({ text }) => text)].map((text, index) => [
    index === 0 ? `timeline ${timeline.timeline}` : "",
    text,
  ]);
}

/** Of a range and a gap at one place, the range comes first, as it did before. */
function byPlace(left: { place: string }, right: { place: string }): number {
  if (left.place === right.place) return 0;
  return left.place < right.place ? -1 : 1;
}

function gapBounds(after: string | null, before: string): string {
  return after === null ? `before ${before}` : `between ${after} and ${before}`;
}

function gapSummary({ timelines }: ClusterStatus): Fact[] {
  const gaps = timelines.flatMap((timeline) => timeline.gaps);
  if (gaps.length === 0) return [["gaps", "none"]];
  const segments = gaps.reduce((sum, gap) => sum + gap.segments, 0);
  const total = `${formatCount(segments, "segment")} MISSING in ${formatCount(gaps.length, "gap")}`;
  return [["gaps", `${total}: a recovery across one stops there`]];
}

function damageFacts({ damaged, conflicts }: ClusterStatus): Fact[] {
  const facts: Fact[] = damaged.map((name, index) => [
    index === 0 ? "damaged" : "",
    `${name} DAMAGED; push it again if you have it`,
  ]);
  if (conflicts > 0) {
    facts.push(["conflicts", `${formatCount(conflicts, "file")} REFUSED since the start`]);
  }
  return facts;
}

/** Every claim, the horizon, and the one line that answers why the archive grows. */
function claimFacts(status: ClusterStatus, now: Date): Fact[] {
  const { claims, horizon, heldBy } = status;
  const facts: Fact[] = claims.map((claim, index) => [
    index === 0 ? "claims" : "",
    formatClaim(claim, now),
  ]);
  const holders = heldBy.map(({ kind, name }) => `${kind} ${name}`).join(", ");
  const held = holders === "" ? "" : `, held by ${holders}`;
  if (claims.length > 0 || horizon !== null) {
    facts.push(["horizon", `${horizon ?? "none, so nothing is removed"}${held}`]);
  }
  // An older daemon does not tell.
  const { explanation } = status as Partial<ClusterStatus>;
  return explanation === undefined ? facts : [...facts, ["kept because", explanation]];
}

function formatClaim(claim: ClusterStatus["claims"][number], now: Date): string {
  const parts = [`${claim.kind} ${claim.name} from ${claim.from ?? "the beginning"}`];
  if (claim.reportedAt) {
    parts.push(`reported ${formatAge(now.getTime() - Date.parse(claim.reportedAt))} ago`);
  }
  if (claim.stale) parts.push(claim.released ? "STALE and released" : "STALE");
  if (claim.doubt !== undefined) parts.push(claim.doubt);
  return parts.join(", ");
}
