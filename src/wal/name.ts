/**
 * Names PostgreSQL gives to the files it archives (xlog_internal.h).
 *
 *     000000010000000A000000FF                    segment
 *     000000010000000A000000FF.partial            unfinished end of a timeline, made by a promotion
 *     000000010000000A000000FF.00000028.backup    backup history: where a base backup starts
 *     00000002.history                            timeline history
 *     │ tli  ││ log  ││ seg  │ │offset│
 *
 * Upper case only: PostgreSQL writes `%08X`, and where file names ignore case, `0a` and `0A` would
 * be one file.
 */
import { WalarcError } from "../errors.ts";

const NAME =
  /^([0-9A-F]{8})(?:([0-9A-F]{8})([0-9A-F]{8})(\.partial|\.[0-9A-F]{8}\.backup)?|\.history)$/;

/** A WAL file that has a place in the WAL. */
export interface PlacedName {
  readonly kind: "segment" | "partial" | "backup";
  readonly text: string;
  readonly timeline: number;
  /** The middle eight digits. Only with the segment size do they and `segment` become a place. */
  readonly log: number;
  /** The last eight digits. */
  readonly segment: number;
  /** Sixteen hex digits, whatever the timeline: compares with `<` within one segment size. */
  readonly position: string;
}

export interface HistoryName {
  readonly kind: "history";
  readonly text: string;
  readonly timeline: number;
}

export type WalName = PlacedName | HistoryName;

/** The parsed name, or `undefined` for anything PostgreSQL would not call a WAL file. */
export function parseWalName(text: string): WalName | undefined {
  const [, timelineHex, logHex, segmentHex, suffix] = NAME.exec(text) ?? [];
  if (timelineHex === undefined) return undefined;

  const timeline = Number.parseInt(timelineHex, 16);
  if (timeline === 0) return undefined; // PostgreSQL counts timelines from 1.

  if (logHex === undefined || segmentHex === undefined) return { kind: "history", text, timeline };
  return {
    kind: kindOf(suffix),
    text,
    timeline,
    log: Number.parseInt(logHex, 16),
    segment: Number.parseInt(segmentHex, 16),
    position: logHex + segmentHex,
  };
}

/** The parsed name; throws `rejected`. */
export function requireWalName(text: string): WalName {
  const name = parseWalName(text);
  if (name === undefined) {
    throw new WalarcError("rejected", `${quoted(text)} is not the name of a WAL file`, {
      hint: "segments, .partial, .history and .backup files are taken, in upper-case hex",
    });
  }
  return name;
}

/** The history file of a timeline: decimal inside, but hex in its name. */
export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
}

function kindOf(suffix: string | undefined): PlacedName["kind"] {
  if (suffix === undefined) return "segment";
  return suffix === ".partial" ? "partial" : "backup";
}

/** Fit for a log line, whatever was sent. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
