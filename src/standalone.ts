/**
 * Stands in for commands.ts in the standalone executable, which has the commands PostgreSQL runs
 * and no others.
 */
import { helpText, isCommandName, unknownCommand } from "./cli/help.ts";
import { printOutput } from "./cli/output.ts";
import { reportFailure } from "./cli/report.ts";
import { WalarcError } from "./errors.ts";
import { VERSION } from "./version.ts";

/** Resolves to the exit status. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  const [command = "", ...args] = argv;
  try {
    if (command === "--version" || command === "-V") {
      await printOutput(`walarc ${VERSION} (standalone client)\n`);
      return 0;
    }
    const isHelp = command === "help" || command === "--help" || command === "-h";
    if (isHelp || args.includes("--help") || args.includes("-h")) {
      await printOutput(helpText(isHelp ? args[0] : command));
      return 0;
    }
    if (!isCommandName(command)) throw unknownCommand(command);
    throw new WalarcError("usage", `the standalone client has no "${command}"`, {
      hint: "run it with bin/walarc, where Node is installed",
    });
  } catch (error) {
    return reportFailure(command === "" ? "start" : command, error);
  }
}
