/**
 * What a process beside the server answers to the calls that come meanwhile: it does what the
 * client would do first, and nothing else. In any doubt the client is started.
 */
import type { Call, CallAnswer } from "../ahead/attendant.ts";
import type { PrivatePlace } from "../ahead/private-place.ts";
import type { Endpoint } from "../client/connection.ts";
import { download } from "../client/download.ts";
import { FAILURES, isFailure } from "../errors.ts";
import { requireWalName } from "../wal/name.ts";
import { endpointOf } from "./endpoint.ts";
import { FETCH_SHAPE, fetchTimeoutMs } from "./fetch-command.ts";
import { identityHeader } from "./identity.ts";
import { LookAhead, PATIENCE } from "./look-ahead.ts";
import {
  type CommandLine,
  type CommandShape,
  parseCommandLine,
  resolveClientOptions,
} from "./options.ts";
import { PUSH_SHAPE, PUSH_TIMEOUT_MS } from "./push-command.ts";
import { isPushedWithoutSending } from "./push.ts";
import { Supply } from "./supply.ts";

/** Of `walarc push`: whether the segment is archived, or a daemon on this host takes it by name. */
export async function answerPush(
  call: Call,
  options: { readonly place: PrivatePlace; readonly signal: AbortSignal },
): Promise<CallAnswer> {
  const line = lineOf(call, PUSH_SHAPE);
  if (line === undefined || line.values["spool"] !== undefined) return "not-by-me";
  const [path = ""] = line.positionals;
  const client = await resolveClientOptions(line, call.environment);
  const { timeoutMs = PUSH_TIMEOUT_MS } = client;
  const lookAhead = LookAhead.for(path, { ...client, timeoutMs });
  if (lookAhead === undefined || !lookAhead.place.is(options.place)) return "not-by-me";
  const isPushed = await isPushedWithoutSending(path, {
    endpoint: endpointOf(client),
    cluster: client.cluster,
    lookAhead,
    signal: patient(options.signal, timeoutMs),
  });
  return isPushed ? { status: 0 } : "not-by-me";
}

/**
 * Of `walarc fetch`: from where the segment is to be renamed, if it is in stock; or that there is
 * none, by the archive's own word on this very call.
 */
export async function answerFetch(
  call: Call,
  options: {
    readonly place: PrivatePlace;
    /** Names that the archive did not have when they were to be prefetched. */
    readonly missed: ReadonlySet<string>;
    readonly signal: AbortSignal;
  },
): Promise<CallAnswer> {
  const line = lineOf(call, FETCH_SHAPE);
  if (line === undefined) return "not-by-me";
  const [name = "", to = ""] = line.positionals;
  const client = await resolveClientOptions(line, call.environment);
  const supply = Supply.for(name, to, client);
  if (supply === undefined || !supply.place.is(options.place)) return "not-by-me";
  const timeoutMs = client.timeoutMs ?? fetchTimeoutMs(to);
  const signal = patient(options.signal, timeoutMs);
  const from = await supply.offer(signal);
  if (from !== undefined) return { from, to };
  // What may be there is for the client to fetch, and to tell what is wrong.
  if (!options.missed.has(name) || line.switches.has("verbose")) return "not-by-me";
  const isAbsent = await isAbsentNow(name, { endpoint: endpointOf(client), ...client, signal });
  return isAbsent ? { status: FAILURES.absent.exit } : "not-by-me";
}

/** Asks the archive. */
async function isAbsentNow(
  name: string,
  options: { readonly endpoint: Endpoint; readonly cluster: string; readonly signal: AbortSignal },
): Promise<boolean> {
  const open = () => {
    throw new Error("it has come meanwhile");
  };
  try {
    await download({ ...options, name: requireWalName(name), headers: identityHeader(), open });
    return false;
  } catch (error) {
    return isFailure(error, "absent");
  }
}

function lineOf({ args: [command, ...args] }: Call, shape: CommandShape): CommandLine | undefined {
  if (command !== shape.command) return undefined;
  const line = parseCommandLine(args, shape);
  return line.switches.has("help") ? undefined : line;
}

/** Enough of the call's time is left for the client. */
function patient(signal: AbortSignal, timeoutMs: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(timeoutMs * PATIENCE))]);
}
