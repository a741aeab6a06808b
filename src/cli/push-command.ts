import { basename } from "node:path";
import { WalarcError } from "../errors.ts";
import { deadlineSignal } from "./deadline.ts";
import { endpointOf } from "./endpoint.ts";
import { handOver } from "./hand-over.ts";
import { LookAhead } from "./look-ahead.ts";
import { type CommandShape, parseCommandLine, resolveClientOptions } from "./options.ts";
import { pushFile } from "./push.ts";
import { reportFailure } from "./report.ts";

export const PUSH_TIMEOUT_MS = 60_000;

export const PUSH_SHAPE: CommandShape = {
  command: "push",
  positionals: ["PATH"],
  flags: { spool: "string", "look-ahead": "string" },
};

/** `walarc push [--spool DIR] PATH`; resolves to the exit status, which is never above 125. */
export async function pushCommand(args: readonly string[]): Promise<number> {
  let what = "push";
  try {
    const line = parseCommandLine(args, PUSH_SHAPE);
    if (line.switches.has("help")) throw new WalarcError("usage", "--help stands alone");
    const [path = ""] = line.positionals;
    what = `push ${basename(path)}`;
    const { spool } = line.values;
    if (spool !== undefined) {
      handOver(path, { spool });
      return 0;
    }
    const options = await resolveClientOptions(line);
    const { timeoutMs = PUSH_TIMEOUT_MS } = options;
    const lookAhead = LookAhead.for(path, { ...options, timeoutMs });
    const way = await pushFile(path, {
      endpoint: endpointOf(options),
      cluster: options.cluster,
      lookAhead,
      signal: deadlineSignal(timeoutMs, options.server),
    });
    if (way !== "ahead") await lookAhead?.goOn(way, args);
    return 0;
  } catch (error) {
    return reportFailure(what, error);
  }
}
