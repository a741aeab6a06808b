import type { HoldStatus } from "../retention/overview.ts";
import { WalarcError } from "../errors.ts";
import { formatTable } from "./columns.ts";
import { inquire } from "./inquiry.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { order } from "./order.ts";
import { printOutput } from "./output.ts";
import { printable, reportFailure } from "./report.ts";
import { requireNameIn } from "./standby-command.ts";

/** `walarc hold add NAME --from SEGMENT [--until TIME]`, `ls` and `rm NAME`. */
export async function holdCommand(args: readonly string[]): Promise<number> {
  const [action, ...rest] = args;
  const what = `hold ${printable(action ?? "")}`.trim();
  try {
    if (action === "add") return await add(rest);
    if (action === "ls") return await list(rest);
    if (action === "rm") return await remove(rest);
    throw new WalarcError("usage", "add, ls or rm is expected", {
      hint: "walarc hold add NAME --from SEGMENT [--until TIME] | ls [--json] | rm NAME",
    });
  } catch (error) {
    return reportFailure(what, error);
  }
}

async function add(args: readonly string[]): Promise<number> {
  const flags = { from: "string", until: "string" } as const;
  const line = parseCommandLine(args, { command: "hold add", positionals: ["NAME"], flags });
  const options = await resolveClientOptions(line);
  const name = requireNameIn(line, "hold");
  const { from, until } = line.values;
  if (from === undefined) {
    throw new WalarcError("usage", "--from is missing", {
      hint: "name the oldest segment to keep: --from 000000010000000000000005",
    });
  }
  const { body } = await order(options, {
    method: "PUT",
    path: `/v1/clusters/${options.cluster}/holds/${name}`,
    content: { from, until: until === undefined ? null : requireTime(until) },
  });
  const end = until === undefined ? "until it is removed" : `until ${until}`;
  await printOutput(`kept from ${from} on, ${end}: hold ${name} of cluster ${options.cluster}\n`);
  const { problem } = JSON.parse(body.toString()) as HoldStatus;
  if (problem !== undefined) await printOutput(`but that is ${problem}\n`);
  return 0;
}

/** RFC 3339, or a date or a time without a zone as people here mean it: in this host's own. */
function requireTime(text: string): string {
  const isTime = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/i;
  // A date alone would be taken for UTC.
  const time = new Date(isTime.test(text) && text.length === 10 ? `${text}T00:00` : text);
  const isDay = isTime.test(text) && isInCalendar(text.slice(0, 10));
  if (isDay && !Number.isNaN(time.getTime())) return time.toISOString();
  throw new WalarcError("usage", `--until "${text}" is not a time`, {
    hint: "write 2030-01-31, 2030-01-31T08:00 or 2030-01-31T08:00:00Z",
  });
}

/** JavaScript takes February 31 for March 3. */
function isInCalendar(day: string): boolean {
  const time = new Date(`${day}T00:00Z`);
  return !Number.isNaN(time.getTime()) && time.toISOString().startsWith(day);
}

async function list(args: readonly string[]): Promise<number> {
  const flags = { json: "boolean" } as const;
  const line = parseCommandLine(args, { command: "hold ls", positionals: [], flags });
  const options = await resolveClientOptions(line);
  const path = `/v1/clusters/${options.cluster}/holds`;
  const answer = await inquire(options, { path, isExpected: isList });
  if (line.switches.has("json")) await printOutput(`${JSON.stringify(answer, undefined, 2)}\n`);
  else await printOutput(formatHolds(answer.holds));
  return 0;
}

function isList(answer: unknown): answer is { holds: readonly HoldStatus[] } {
  return Array.isArray((answer as { holds?: unknown } | null)?.holds);
}

function formatHolds(holds: readonly HoldStatus[]): string {
  if (holds.length === 0) return "no holds\n";
  return formatTable(
    ["HOLD", "FROM", "UNTIL", ""],
    holds.map(({ name, from, until, problem }) => [
      name,
      from ?? "-",
      until ?? "removed",
      problem ?? "",
    ]),
  );
}

async function remove(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args, { command: "hold rm", positionals: ["NAME"] });
  const options = await resolveClientOptions(line);
  const name = requireNameIn(line, "hold");
  await order(options, {
    method: "DELETE",
    path: `/v1/clusters/${options.cluster}/holds/${name}`,
  });
  await printOutput(`removed: hold ${name} of cluster ${options.cluster}\n`);
  return 0;
}
