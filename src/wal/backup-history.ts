/**
 * Backup history files: from where to where WAL is needed to make a base backup consistent
 * (do_pg_backup_stop in xlog.c, build_backup_content in xlogbackup.c):
 *
 *     START WAL LOCATION: 0/700028 (file 000000010000000000000007)
 *     STOP WAL LOCATION: 0/700100 (file 000000010000000000000007)
 *     CHECKPOINT LOCATION: 0/700060
 *     BACKUP METHOD: streamed
 *     …
 *     LABEL: pg_basebackup base backup
 *     START TIMELINE: 1
 *     STOP TIME: 2026-11-21 11:17:11 UTC
 *     STOP TIMELINE: 1
 *
 * The name is the start's segment, the offset of the start in it, and the timeline of the stop.
 */
import { WalarcError } from "../errors.ts";
import { type PlacedName, parseWalName, type WalName } from "./name.ts";
import { formatLsn, parseLsn, SEGMENT_SIZES, segmentNumber, startLsn } from "./segment.ts";

export interface BackupHistory {
  readonly startLsn: bigint;
  /** Name of the oldest segment the backup needs. */
  readonly startSegment: string;
  readonly stopLsn: bigint;
  /** Name of the segment with which the backup becomes consistent. */
  readonly stopSegment: string;
  /** Free text, possibly of several lines. */
  readonly label: string;
  /** `undefined` where the file does not tell. */
  readonly startTimeline: number | undefined;
}

const START = /^START WAL LOCATION: (\S+) \(file ([0-9A-F]{24})\)$/;
const STOP = /^STOP WAL LOCATION: (\S+) \(file ([0-9A-F]{24})\)$/;
const LABEL = "\nLABEL: ";
const START_TIMELINE = "\nSTART TIMELINE: ";
/** In `000000010000000000000007.00000028.backup`: the offset. */
const OFFSET_AT = 25;

/**
 * Reads the backup history file `name` and checks that it belongs under this name, with the
 * cluster's segment size where that is known. Throws `rejected`. Decode the bytes leniently: a
 * label is in any of the server's encodings.
 */
export function parseBackupHistory(
  name: WalName,
  text: string,
  options: { readonly segmentSizeBytes?: number | undefined } = {},
): BackupHistory {
  if (name.kind !== "backup") throw new TypeError(`${name.text} is not a backup history file`);
  if (text.includes("\0")) throw rejected("the backup history file is not text");

  const lines = text.split("\n", 2);
  const start = parseLocation(START.exec(lines[0] ?? ""));
  if (start === undefined) throw rejected("the first line is no START WAL LOCATION");
  const stop = parseLocation(STOP.exec(lines[1] ?? ""));
  if (stop === undefined) throw rejected("the second line is no STOP WAL LOCATION");

  if (start.segment.position !== name.position) {
    throw rejected(`START WAL LOCATION is in file ${start.segment.text}, not in the name's`);
  }
  if (start.segment.timeline > name.timeline) {
    throw rejected(`START WAL LOCATION has a timeline above the name's ${name.timeline}`);
  }
  if (!isPlaceOf(name, start.lsn, options.segmentSizeBytes)) {
    throw rejected(`START WAL LOCATION ${formatLsn(start.lsn)} is not the place in the name`);
  }
  return {
    startLsn: start.lsn,
    startSegment: start.segment.text,
    stopLsn: stop.lsn,
    stopSegment: stop.segment.text,
    ...parseLabel(text),
  };
}

function parseLocation(
  match: RegExpExecArray | null,
): { lsn: bigint; segment: PlacedName } | undefined {
  const lsn = parseLsn(match?.[1] ?? "");
  const segment = parseWalName(match?.[2] ?? "");
  if (lsn === undefined || segment?.kind !== "segment") return undefined;
  return { lsn, segment };
}

/** Without a known segment size, any size that makes it true will do. */
function isPlaceOf(name: PlacedName, lsn: bigint, segmentSizeBytes: number | undefined): boolean {
  const offset = Number.parseInt(name.text.slice(OFFSET_AT, OFFSET_AT + 8), 16);
  const sizes = segmentSizeBytes === undefined ? SEGMENT_SIZES : [segmentSizeBytes];
  return sizes.some((size) => {
    const number = segmentNumber(name, size);
    if (number === undefined || offset >= size) return false;
    return startLsn(number, size) + BigInt(offset) === lsn;
  });
}

/** The label may have lines of its own, so what follows it is looked for from the end. */
function parseLabel(text: string): Pick<BackupHistory, "label" | "startTimeline"> {
  const from = text.indexOf(LABEL) + LABEL.length;
  const to = text.lastIndexOf(START_TIMELINE);
  if (from < LABEL.length || to < from) return { label: "", startTimeline: undefined };
  const digits = /^\d+/.exec(text.slice(to + START_TIMELINE.length))?.[0];
  return {
    label: text.slice(from, to),
    startTimeline: digits === undefined ? undefined : Number(digits),
  };
}

function rejected(message: string): WalarcError {
  return new WalarcError("rejected", message);
}
