import type { ClusterStatus } from "../archive/status.ts";
import { type ClientOptions, parseCommandLine, resolveClientOptions } from "./options.ts";
import { inquire } from "./inquiry.ts";
import { printOutput } from "./output.ts";
import { reportFailure } from "./report.ts";
import { formatStatus } from "./status-table.ts";

/**
 * `walarc status`: a table of the named cluster, or of all when none is named. With `--json` the
 * object of one cluster, of `main` when none is named. Resolves to the exit status.
 */
export async function statusCommand(args: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(args, {
      command: "status",
      positionals: [],
      flags: { json: "boolean" },
    });
    const options = await resolveClientOptions(line);
    if (line.switches.has("json")) {
      await printOutput(`${JSON.stringify(await readStatus(options), undefined, 2)}\n`);
    } else {
      const clusters = options.isClusterNamed
        ? [await readStatus(options)]
        : await readStatuses(options);
      const tables = clusters.map((status) => formatStatus(status, new Date()));
      const none = "no cluster yet: one is made at its first valid push\n";
      await printOutput(tables.length === 0 ? none : tables.join("\n"));
    }
    return 0;
  } catch (error) {
    return reportFailure("status", error);
  }
}

async function readStatus(options: ClientOptions): Promise<ClusterStatus> {
  const path = `/v1/clusters/${options.cluster}`;
  return await inquire(options, { path, isExpected: isStatus });
}

async function readStatuses(options: ClientOptions): Promise<readonly ClusterStatus[]> {
  const answer = await inquire(options, { path: "/v1/clusters", isExpected: isStatusList });
  return answer.clusters;
}

function isStatusList(answer: unknown): answer is { clusters: ClusterStatus[] } {
  const { clusters } = (answer ?? {}) as Record<string, unknown>;
  return Array.isArray(clusters) && clusters.every(isStatus);
}

/** Enough to tell a status from anything else that answers with JSON. */
function isStatus(answer: unknown): answer is ClusterStatus {
  const { cluster, stored, timelines } = (answer ?? {}) as Record<string, unknown>;
  return typeof cluster === "string" && typeof stored === "object" && Array.isArray(timelines);
}
