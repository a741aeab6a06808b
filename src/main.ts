/**
 * The program's entry. PostgreSQL starts `walarc push` and `walarc fetch` once per WAL file, so
 * these two load next to nothing; everything else is another file, loaded on demand.
 */
import { cleanupCommand } from "./cli/cleanup-command.ts";
import { fetchCommand } from "./cli/fetch-command.ts";
import { prefetchCommand } from "./cli/prefetch-command.ts";
import { pushCommand } from "./cli/push-command.ts";
import { reportFailure } from "./cli/report.ts";
import { shipCommand } from "./cli/ship-command.ts";
import { isRecoveryTarget, settingOfArguments } from "./cli/setting.ts";
import { FAILURES, STOP_STATUS, WalarcError } from "./errors.ts";

/** The commands whose exit status PostgreSQL acts on. They run on older Nodes too. */
const HOT_COMMANDS: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  push: pushCommand,
  fetch: fetchCommand,
  cleanup: cleanupCommand,
  prefetch: prefetchCommand,
  ship: shipCommand,
};

const argv = process.argv.slice(2);
const [command = "", ...args] = argv;

// Without these the runtime would end with 1, which PostgreSQL reads as "there is no such file".
// Node takes a rejection nobody handles for an exception; the standalone client's runtime does not.
process.on("uncaughtException", endWithBug);
process.on("unhandledRejection", endWithBug);

// And without this it would end with 0 if ever nothing were left to wait for before the command is
// through. Nothing is a success that was not said to be one.
process.exitCode = failedStatus(FAILURES.bug.exit);

void main();

async function main(): Promise<void> {
  const hotCommand = Object.hasOwn(HOT_COMMANDS, command) ? HOT_COMMANDS[command] : undefined;
  const asksForHelp = args.length === 1 && (args[0] === "--help" || args[0] === "-h");
  if (hotCommand !== undefined && !asksForHelp) {
    // At once: whatever is still open has lost its purpose.
    process.exit(await hotCommand(args));
  }
  const status = await runOtherCommand();
  // All output is written by now; a deadline's timer would keep the process for its whole length.
  process.exit(status === 0 ? 0 : failedStatus(status));
}

function endWithBug(error: unknown): void {
  process.exit(failedStatus(reportFailure(command, error)));
}

async function runOtherCommand(): Promise<number> {
  try {
    requireCurrentNode();
    const { runCommand } = await import("./commands.ts");
    return await runCommand(argv);
  } catch (error) {
    return reportFailure(command === "" ? "start" : command, error);
  }
}

/** Older versions take a truncated zstd frame for a complete one (nodejs/node issue 64592). */
function requireCurrentNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 24 || (major === 24 && minor >= 20)) return;
  const message = `this is Node ${process.versions.node}; only push and fetch run on it`;
  throw new WalarcError("usage", message, { hint: "install Node 24.20 or newer, or run npm ci" });
}

/** A failure as PostgreSQL must see it, also when a restore_command names no command of ours. */
function failedStatus(status: number): number {
  if (command === "push" || command === "cleanup") return status;
  if (command !== "fetch" && !args.some(isRecoveryTarget)) return status;
  return settingOfArguments(args) === "recovery" ? STOP_STATUS : status;
}
