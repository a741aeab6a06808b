/**
 * What a process beside the server answers to the calls that come meanwhile: it does what the
 * client would do first, and nothing else. In any doubt the client is started.
 */
import type { Call, CallAnswer } from "../ahead/attendant.ts";
import type { PrivatePlace } from "../ahead/private-place.ts";
import { endpointOf } from "./endpoint.ts";
import { FETCH_SHAPE, fetchTimeoutMs } from "./fetch-command.ts";
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
  return isPushed ? "done" : "not-by-me";
}

/** Of `walarc fetch`: from where the segment is to be renamed, if it is in stock. */
export async function answerFetch(
  call: Call,
  options: { readonly place: PrivatePlace; readonly signal: AbortSignal },
): Promise<CallAnswer> {
  const line = lineOf(call, FETCH_SHAPE);
  if (line === undefined) return "not-by-me";
  const [name = "", to = ""] = line.positionals;
  const client = await resolveClientOptions(line, call.environment);
  const supply = Supply.for(name, to, client);
  if (supply === undefined || !supply.place.is(options.place)) return "not-by-me";
  const timeoutMs = client.timeoutMs ?? fetchTimeoutMs(to);
  const from = await supply.offer(patient(options.signal, timeoutMs));
  return from === undefined ? "not-by-me" : { from, to };
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
