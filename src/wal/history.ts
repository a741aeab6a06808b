/**
 * Timeline history files: how a timeline came to be (timeline.c). One line per ancestor, oldest
 * first, the ancestor's timeline in decimal, where it was left, and why:
 *
 *     1<TAB>0/A000198<TAB>no recovery target specified
 *
 * Read as PostgreSQL reads them: `#` lines and blank ones are skipped, what follows the LSN is not
 * looked at. (A recovery target of time or LSN ends its reason in a newline: a blank line.)
 */
import { WalarcError } from "../errors.ts";
import type { WalName } from "./name.ts";
import { parseLsn } from "./segment.ts";

export interface TimelineHistory {
  readonly timeline: number;
  /** Oldest first; never empty. */
  readonly parents: readonly TimelineSwitch[];
}

/** The WAL of `timeline` that counts ends right before `switchLsn`. */
export interface TimelineSwitch {
  readonly timeline: number;
  readonly switchLsn: bigint;
}

const SKIPPED = /^[ \t\v\f\r]*(?:#|$)/;
const LINE = /^[ \t\v\f\r]*(\d+)[ \t\v\f\r]+([0-9A-F]+\/[0-9A-F]+)/i;
const TIMELINE_MAX = 0xffff_ffff;

/**
 * Reads the history file `name`; throws `rejected`. Decode the file's bytes leniently: a reason may
 * quote a restore point's name in any of the server's encodings.
 */
export function parseHistory(name: WalName, text: string): TimelineHistory {
  if (text.includes("\0")) throw rejected("the history file is not text");

  const parents: TimelineSwitch[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (SKIPPED.test(line)) continue;
    const parent = parseLine(line, index + 1);
    const previous = parents.at(-1);
    if (previous !== undefined && parent.timeline <= previous.timeline) {
      const pair = `timeline ${parent.timeline} after ${previous.timeline}`;
      throw rejected(`line ${index + 1}: ${pair} does not increase`);
    }
    parents.push(parent);
  }

  const last = parents.at(-1);
  if (last === undefined) throw rejected("the history file names no parent timeline");
  if (last.timeline >= name.timeline) {
    throw rejected(`parent timeline ${last.timeline} is not below its child's ${name.timeline}`);
  }
  return { timeline: name.timeline, parents };
}

function parseLine(line: string, lineNumber: number): TimelineSwitch {
  const [, timelineText, lsnText] = LINE.exec(line) ?? [];
  const timeline = Number(timelineText);
  const switchLsn = parseLsn(lsnText ?? "");
  if (!(timeline >= 1 && timeline <= TIMELINE_MAX) || switchLsn === undefined) {
    // A restore point's name with a newline in it does this. PostgreSQL cannot start from the file
    // it has just written then; once archived, it could never be corrected.
    throw rejected(`line ${lineNumber} does not name a timeline and its switch point`, {
      hint: "PostgreSQL cannot read this file either: correct it in pg_wal",
    });
  }
  return { timeline, switchLsn };
}

function rejected(message: string, options: { hint?: string } = {}): WalarcError {
  return new WalarcError("rejected", message, options);
}
