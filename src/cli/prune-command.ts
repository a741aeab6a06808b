import { writeSync } from "node:fs";
import type { ClaimStatus } from "../retention/overview.ts";
import { WalarcError } from "../errors.ts";
import { formatBytes, formatCount, formatFacts } from "./columns.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { order } from "./order.ts";
import { printOutput } from "./output.ts";
import { reportFailure } from "./report.ts";

/** What the daemon answers when the single names are not asked for. */
interface PruneAnswer {
  readonly dryRun: boolean;
  readonly horizon: string | null;
  readonly heldBy: readonly Pick<ClaimStatus, "kind" | "name">[];
  readonly explanation: string;
  readonly removeFiles: number;
  readonly removeBytes: number;
  readonly ranges: readonly { first: string; last: string; segments: number }[];
}

/** The first prune of a large archive takes minutes, or waits for another daemon's. */
const TIMEOUT_MS = 3_600_000;

/**
 * `walarc prune`: removes what nobody needs, or with `--dry-run` tells what that would be. With
 * `--json` the document of the daemon, passed on as it comes. Resolves to the exit status.
 */
export async function pruneCommand(args: readonly string[]): Promise<number> {
  try {
    const flags = { "dry-run": "boolean", json: "boolean" } as const;
    const line = parseCommandLine(args, { command: "prune", positionals: [], flags });
    const options = await resolveClientOptions(line);
    const path = `/v1/clusters/${options.cluster}/prune`;
    const dryRun = line.switches.has("dry-run");
    // A dry run is a question like others.
    const deadline = dryRun ? {} : { timeoutMs: TIMEOUT_MS };
    const call = { method: "POST", path, ...deadline } as const;
    if (line.switches.has("json")) {
      await order(options, { ...call, content: { dryRun }, receive: passOn });
      return 0;
    }
    const answer = await order(options, { ...call, content: { dryRun, names: false } });
    await printOutput(formatPrune(requirePrune(answer.body)));
    return 0;
  } catch (error) {
    return reportFailure("prune", error);
  }
}

/** Straight to standard output: the names may be millions. */
function passOn(bytes: Buffer): void {
  for (let rest = bytes; rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") continue; // A pipe that is full for the moment.
      if (code === "EPIPE") process.exit(0); // Nobody reads any more: enough was said.
      const why = error instanceof Error ? error.message : String(error);
      throw new WalarcError("local", `cannot write standard output: ${why}`, { cause: error });
    }
  }
}

function requirePrune(body: Buffer): PruneAnswer {
  const answer = JSON.parse(body.toString()) as PruneAnswer;
  if (typeof answer.removeFiles === "number" && Array.isArray(answer.ranges)) return answer;
  throw new WalarcError("unreachable", "the answer is not one of walarc's");
}

/** What, how much, and held by whom. */
function formatPrune(answer: PruneAnswer): string {
  const { dryRun, horizon, heldBy, removeFiles, removeBytes, ranges } = answer;
  const files = `${formatCount(removeFiles, "file")}, ${formatBytes(removeBytes)} of WAL`;
  const holders = heldBy.map(({ kind, name }) => `${kind} ${name}`).join(", ");
  return formatFacts([
    [dryRun ? "would remove" : "removed", removeFiles === 0 ? "nothing" : files],
    ...ranges.map(({ first, last, segments }): [string, string] => [
      "",
      `${first}${first === last ? "" : ` to ${last}`}, ${formatCount(segments, "segment")}`,
    ]),
    ["horizon", horizon ?? "none, so nothing is removed"],
    ["held by", holders === "" ? "nobody" : holders],
    ["because", answer.explanation],
  ]);
}
