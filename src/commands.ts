/**
 * The commands that PostgreSQL does not run, loaded on demand: by main.ts as a whole, and each only
 * when it is called.
 */
import { helpText, isCommandName, unknownCommand } from "./cli/help.ts";
import { printOutput } from "./cli/output.ts";
import { reportFailure } from "./cli/report.ts";
import { WalarcError } from "./errors.ts";
import { VERSION } from "./version.ts";

type Command = (args: readonly string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import("./cli/serve.ts")).serve,
  status: async () => (await import("./cli/status-command.ts")).statusCommand,
  ls: async () => (await import("./cli/ls-command.ts")).lsCommand,
  standby: async () => (await import("./cli/standby-command.ts")).standbyCommand,
  hold: async () => (await import("./cli/hold-command.ts")).holdCommand,
  prune: async () => (await import("./cli/prune-command.ts")).pruneCommand,
  import: async () => (await import("./cli/import-command.ts")).importCommand,
  token: async () => (await import("./cli/token-command.ts")).tokenCommand,
  "check-config": async () => (await import("./cli/check-config-command.ts")).checkConfigCommand,
};

/** Runs the command that the arguments name and resolves to its exit status. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  const [command, ...args] = argv;
  try {
    if (command === undefined) {
      throw new WalarcError("usage", "no command is given", { hint: "see walarc help" });
    }
    if (command === "--version" || command === "-V") {
      await printOutput(`walarc ${VERSION}\n`);
      return 0;
    }
    if (command === "help" || command === "--help" || command === "-h") {
      await printOutput(helpText(args[0]));
      return 0;
    }
    if (isCommandName(command) && asksForHelp(args)) {
      await printOutput(helpText(command));
      return 0;
    }
    const load = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined;
    if (load === undefined) throw unknownCommand(command);
    return await (await load())(args);
  } catch (error) {
    return reportFailure(command ?? "start", error);
  }
}

function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? args.length : end).some((arg) => arg === "--help" || arg === "-h");
}
