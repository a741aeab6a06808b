import { FAILURES, isFailure, STOP_STATUS, WalarcError } from "../errors.ts";
import { deadlineSignal } from "./deadline.ts";
import { endpointOf } from "./endpoint.ts";
import { fetchFile } from "./fetch.ts";
import {
  type CommandLine,
  type CommandShape,
  parseCommandLine,
  resolveClientOptions,
} from "./options.ts";
import { reportFailure } from "./report.ts";
import { type Setting, settingOf, settingOfArguments } from "./setting.ts";
import { Supply } from "./supply.ts";

export const FETCH_SHAPE: CommandShape = {
  command: "fetch",
  positionals: ["NAME", "DESTINATION"],
  flags: { "on-error": "string", prefetch: "string" },
};

/** Total deadlines. A promotion asks for several files in a row and waits for each answer. */
const TIMEOUT_MS: Readonly<Record<Setting, number>> = {
  recovery: 300_000,
  standby: 10_000,
  promotion: 10_000,
  other: 30_000,
};

/**
 * `walarc fetch NAME DESTINATION`; resolves to the exit status. In recovery every failure but
 * `absent` is `STOP_STATUS`: PostgreSQL reads anything up to 125 as the end of the WAL and opens
 * the database (RestoreArchivedFile in xlogarchive.c).
 */
export async function fetchCommand(args: readonly string[]): Promise<number> {
  let what = "fetch";
  let stops = settingOfArguments(args) === "recovery";
  let isVerbose = false;
  try {
    const line = parseCommandLine(args, FETCH_SHAPE);
    if (line.switches.has("help")) throw new WalarcError("usage", "--help stands alone");
    const [name = "", destination = ""] = line.positionals;
    what = `fetch ${name}`;
    isVerbose = line.switches.has("verbose");
    const setting = settingOf(destination);
    stops = stopsOnError(line, setting);

    const options = await resolveClientOptions(line);
    const supply = Supply.for(name, destination, options);
    if (await supply?.deliver(args)) return 0;
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS[setting];
    await fetchFile(name, destination, {
      endpoint: endpointOf(options),
      cluster: options.cluster,
      retry: stops ? "until-deadline" : "never",
      signal: deadlineSignal(timeoutMs, options.server),
    });
    await supply?.follow(args);
    return 0;
  } catch (error) {
    // A standby asks for the next segment every few seconds: not worth a line each time.
    if (isFailure(error, "absent") && !isVerbose) return FAILURES.absent.exit;
    const status = reportFailure(what, error);
    return stops && !isFailure(error, "absent") ? STOP_STATUS : status;
  }
}

/** Of a call that names no deadline. */
export function fetchTimeoutMs(destination: string): number {
  return TIMEOUT_MS[settingOf(destination)];
}

function stopsOnError(line: CommandLine, setting: Setting): boolean {
  const choice = line.values["on-error"] ?? "auto";
  switch (choice) {
    case "auto":
      return setting === "recovery";
    case "stop":
      return true;
    case "continue":
      return false;
    default:
      throw new WalarcError("usage", `--on-error "${choice}" is not auto, stop or continue`);
  }
}
