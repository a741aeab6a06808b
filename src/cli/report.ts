/** How a command tells why it failed: the same words for people and for PostgreSQL's log. */
import { writeSync } from "node:fs";
import { FAILURES, type FailureCode, WalarcError } from "../errors.ts";

/** The failure behind any thrown value; what nobody expected is a `bug` that says where. */
export function failureOf(error: unknown): WalarcError {
  if (error instanceof WalarcError) return error;
  if (!(error instanceof Error)) return new WalarcError("bug", String(error), { cause: error });
  const frame = /^\s+at (.+)$/m.exec(error.stack ?? "")?.[1];
  const where = frame === undefined ? "" : ` (at ${frame})`;
  return new WalarcError("bug", `${error.name}: ${error.message}${where}`, {
    hint: "this is a fault in walarc; please report it with this line",
    cause: error,
  });
}

/**
 * `walarc: WHAT: WHY` and, where the failure has one, a `hint: ` line. `what` is the command and
 * the WAL file. WHY begins with the code's name; further lines of a message (the problems of a
 * configuration) follow indented, so that no message can imitate a line of ours.
 */
export function formatFailure(what: string, failure: WalarcError): string {
  // An unknown cluster ends a command with the status called `usage`.
  const name: FailureCode = failure.code === "unknown-cluster" ? "usage" : failure.code;
  const line = `walarc: ${printable(what)}: ${name}: ${printable(failure.message)}\n`;
  return failure.hint === undefined ? line : `${line}hint: ${printable(failure.hint)}\n`;
}

/** Prints why a command failed on standard error and returns its exit status. */
export function reportFailure(what: string, error: unknown): number {
  const failure = failureOf(error);
  printError(formatFailure(what, failure));
  return FAILURES[failure.code].exit;
}

/**
 * Writes to standard error at once. A closed or full pipe is no reason to fail: the exit status
 * says the same, and there is nowhere left to complain.
 */
export function printError(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // See above.
  }
}

/** Without control characters: a file name or a server's answer must not drive a terminal. */
export function printable(text: string): string {
  return text
    .trimEnd()
    .replaceAll(/\r?\n/g, "\n  ")
    .replaceAll(/[^\P{Cc}\n]/gu, (character) => {
      return `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`;
    });
}
