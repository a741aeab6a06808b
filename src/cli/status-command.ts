import type { ClusterStatus } from "../archive/status.ts";
import { isFailureCode, WalarcError } from "../errors.ts";
import { inquire } from "./inquiry.ts";
import { type ClientOptions, parseCommandLine, resolveClientOptions } from "./options.ts";
import { printOutput } from "./output.ts";
import { reportFailure } from "./report.ts";
import { formatStatus, formatTrouble } from "./status-table.ts";

/** In the answer about all clusters: one that cannot tell its status at the moment. */
interface ClusterTrouble {
  readonly cluster: string;
  readonly problem: { readonly code: string; readonly detail: string };
}

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
      return 0;
    }
    const clusters = options.isClusterNamed
      ? [await readStatus(options)]
      : await readStatuses(options);
    await printTables(clusters);
    // One that cannot answer keeps no other from being shown, but it is no success either.
    for (const { problem } of clusters.filter(isTrouble)) throw failureOfTrouble(problem);
    return 0;
  } catch (error) {
    return reportFailure("status", error);
  }
}

async function printTables(clusters: readonly (ClusterStatus | ClusterTrouble)[]): Promise<void> {
  const tables = clusters.map((cluster) =>
    isTrouble(cluster)
      ? formatTrouble(cluster.cluster, cluster.problem)
      : formatStatus(cluster, new Date()),
  );
  const none = "no cluster yet: one is made at its first valid push\n";
  await printOutput(tables.length === 0 ? none : tables.join("\n"));
}

async function readStatus(options: ClientOptions): Promise<ClusterStatus> {
  const path = `/v1/clusters/${options.cluster}`;
  return await inquire(options, { path, isExpected: isStatus });
}

async function readStatuses(
  options: ClientOptions,
): Promise<readonly (ClusterStatus | ClusterTrouble)[]> {
  const answer = await inquire(options, { path: "/v1/clusters", isExpected: isStatusList });
  return answer.clusters;
}

function isStatusList(answer: unknown): answer is { clusters: (ClusterStatus | ClusterTrouble)[] } {
  const { clusters } = (answer ?? {}) as Record<string, unknown>;
  return Array.isArray(clusters) && clusters.every((one) => isStatus(one) || isTrouble(one));
}

/** Enough to tell a status from anything else that answers with JSON. */
function isStatus(answer: unknown): answer is ClusterStatus {
  const { cluster, stored, timelines } = (answer ?? {}) as Record<string, unknown>;
  return typeof cluster === "string" && typeof stored === "object" && Array.isArray(timelines);
}

function isTrouble(answer: unknown): answer is ClusterTrouble {
  const { cluster, problem } = (answer ?? {}) as Record<string, unknown>;
  const { code, detail } = (problem ?? {}) as Record<string, unknown>;
  return typeof cluster === "string" && typeof code === "string" && typeof detail === "string";
}

function failureOfTrouble({ code, detail }: ClusterTrouble["problem"]): WalarcError {
  return new WalarcError(isFailureCode(code) ? code : "unreachable", detail);
}
