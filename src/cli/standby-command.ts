import type { StandbyStatus } from "../retention/overview.ts";
import { isClaimantName } from "../config/units.ts";
import { WalarcError } from "../errors.ts";
import { formatAge, formatBytes, formatTable } from "./columns.ts";
import { inquire } from "./inquiry.ts";
import { type CommandLine, parseCommandLine, resolveClientOptions } from "./options.ts";
import { order } from "./order.ts";
import { printOutput } from "./output.ts";
import { printable, reportFailure } from "./report.ts";

/** `walarc standby ls` and `walarc standby forget NAME`; resolves to the exit status. */
export async function standbyCommand(args: readonly string[]): Promise<number> {
  const [action, ...rest] = args;
  const what = `standby ${printable(action ?? "")}`.trim();
  try {
    if (action === "ls") return await list(rest);
    if (action === "forget") return await forget(rest);
    throw new WalarcError("usage", "ls or forget is expected", {
      hint: "walarc standby ls [--json] | walarc standby forget NAME",
    });
  } catch (error) {
    return reportFailure(what, error);
  }
}

async function list(args: readonly string[]): Promise<number> {
  const flags = { json: "boolean" } as const;
  const line = parseCommandLine(args, { command: "standby ls", positionals: [], flags });
  const options = await resolveClientOptions(line);
  const path = `/v1/clusters/${options.cluster}/standbys`;
  const answer = await inquire(options, { path, isExpected: isList });
  if (line.switches.has("json")) await printOutput(`${JSON.stringify(answer, undefined, 2)}\n`);
  else await printOutput(formatStandbys(answer.standbys, new Date()));
  return 0;
}

function isList(answer: unknown): answer is { standbys: readonly StandbyStatus[] } {
  return Array.isArray((answer as { standbys?: unknown } | null)?.standbys);
}

function formatStandbys(standbys: readonly StandbyStatus[], now: Date): string {
  if (standbys.length === 0) return "no standby was heard from\n";
  return formatTable(
    ["STANDBY", "RESTART POINT", "REPORTED", "HOLDS", ""],
    standbys.map((standby) => [
      standby.name,
      standby.restartPoint ?? "-",
      standby.reportedAt === null
        ? "never"
        : `${formatAge(now.getTime() - Date.parse(standby.reportedAt))} ago by ${standby.source}`,
      formatBytes(standby.heldBytes),
      remarkOn(standby),
    ]),
  );
}

function remarkOn({ role, stale, released, problem }: StandbyStatus): string {
  const remarks = [];
  if (role === "primary") remarks.push("is a primary: holds nothing");
  if (stale) remarks.push(released === true ? "STALE and released" : "STALE");
  if (problem !== undefined) remarks.push(problem);
  return remarks.join("; ");
}

async function forget(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args, { command: "standby forget", positionals: ["NAME"] });
  const options = await resolveClientOptions(line);
  const name = requireNameIn(line, "standby");
  await order(options, {
    method: "DELETE",
    path: `/v1/clusters/${options.cluster}/standbys/${name}`,
  });
  await printOutput(`forgotten: standby ${name} of cluster ${options.cluster}\n`);
  return 0;
}

/** The first argument, which goes into a path; throws `usage` unless it is a name. */
export function requireNameIn(line: CommandLine, kind: "standby" | "hold"): string {
  const [name = ""] = line.positionals;
  if (isClaimantName(name)) return name;
  throw new WalarcError("usage", `"${name}" is no name of a ${kind}`, {
    hint: "a name is 1 to 100 of a-z, 0-9, dot, _ and -, and begins with a letter or digit",
  });
}
