import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";

/**
 * In whose service a fetch runs, which decides what a failure must look like to PostgreSQL:
 * in recovery any status up to 125 would end the recovery and open the database, on a standby any
 * above it would shut the standby down. A promotion is the last moment of either. Other callers are
 * pg_rewind and people.
 */
export type Setting = "recovery" | "standby" | "promotion" | "other";

/** PostgreSQL's own names for what it asks (xlogarchive.c), and with them their only caller. */
const RECOVERY_TARGETS: ReadonlySet<string> = new Set(["RECOVERYXLOG", "RECOVERYHISTORY"]);

export function isRecoveryTarget(path: string): boolean {
  return RECOVERY_TARGETS.has(basename(path));
}

/** Whether the working directory is a standby's data directory. */
export function isStandbyHere(): boolean {
  return existsSync("standby.signal") || hasStandbyMode(readIfThere("recovery.conf"));
}

/** Looks at the working directory, which is the data directory when PostgreSQL calls. */
export function settingOf(destination: string): Setting {
  if (isStandbyHere()) return "standby";
  if (isPromotion([destination])) return "promotion";
  return isRecoveryTarget(destination) ? "recovery" : "other";
}

/**
 * The setting of a call that could not be understood: a recovery must not end early because of a
 * mistyped restore_command either.
 */
export function settingOfArguments(args: readonly string[]): Setting {
  if (isStandbyHere()) return "standby";
  if (isPromotion(args)) return "promotion";
  const isRecovery =
    args.some(isRecoveryTarget) || existsSync("recovery.signal") || existsSync("recovery.conf");
  return isRecovery ? "recovery" : "other";
}

/**
 * Whether the server here has ended its recovery: it runs and has removed its signal file, and all
 * it still asks for is the history of the timeline that it leaves (writeTimeLineHistory in
 * timeline.c). It has its own copy of that. A status above 125 would end it right there, without a
 * signal file and without a new timeline, and its next start would open the old timeline for
 * writing.
 */
function isPromotion(args: readonly string[]): boolean {
  if (!args.some((arg) => basename(arg) === "RECOVERYHISTORY")) return false;
  return (
    existsSync("postmaster.pid") && !existsSync("recovery.signal") && !existsSync("recovery.conf")
  );
}

/** `standby_mode` in a recovery.conf (PostgreSQL 11 and older): the last line counts. */
function hasStandbyMode(text: string): boolean {
  let isOn = false;
  for (const line of text.split("\n")) {
    const [, value] = /^\s*standby_mode\s*(?:=\s*|\s)'?(\w+)'?\s*(?:#|$)/i.exec(line) ?? [];
    // PostgreSQL takes any unambiguous beginning of a word (bool.c).
    if (value !== undefined) isOn = /^(?:on|t|tr|tru|true|y|ye|yes|1)$/i.test(value);
  }
  return isOn;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // There is none, as on every PostgreSQL since 12.
  }
}
