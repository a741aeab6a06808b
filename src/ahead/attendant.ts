/**
 * The attendant: what a process beside the server does for the calls that PostgreSQL makes
 * meanwhile. `bin/walarc-call.c` asks it, over a socket at the process's private place, how a call
 * ends; to ask costs a tenth of what it takes to start a client. It tells of no failures: whatever
 * is not plain, the client does.
 */
import { statSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { PrivatePlace } from "./private-place.ts";

/** A call as PostgreSQL made it, in our working directory. */
export interface Call {
  /** The command first. */
  readonly args: readonly string[];
  /** The variables `WALARC_*`. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The status to end with; or 0, after a rename that the caller does; or it is for the client. */
export type CallAnswer =
  | { readonly status: number }
  | { readonly from: string; readonly to: string }
  | "not-by-me";

export interface AttendOptions {
  readonly place: PrivatePlace;
  /** This process, as `processIdentity` says it: only the owner of the place has a say. */
  readonly identity: string;
  /** What it rejects with is for the client to find out. The signal aborts when the caller goes. */
  readonly answer: (call: Call, signal: AbortSignal) => Promise<CallAnswer>;
}

const CALL_BYTES_MAX = 65_536;
const LENGTH_BYTES = 4;
/** The caller gives up after five of them. */
const SIGN_OF_LIFE_MS = 200;
/** What stands for bytes that are no UTF-8. A name with them is not the name that was meant. */
const UNREADABLE = "\ufffd";

/** Attends to calls until the result is disposed. Without a socket nobody asks; nothing fails. */
export function attend(options: AttendOptions): Disposable {
  const directory = workingDirectory();
  const server = createServer((socket) => converse(socket, { ...options, directory }));
  server.on("error", () => {}); // As if there were none.
  server.listen(options.place.socketPath);
  return { [Symbol.dispose]: () => void server.close(() => {}) };
}

function converse(socket: Socket, options: AttendOptions & { readonly directory: string }): void {
  const gone = new AbortController();
  const pieces: Buffer[] = [];
  let isAsked = false;
  socket.on("error", () => gone.abort());
  socket.on("close", () => gone.abort());
  socket.on("data", (bytes: Buffer) => {
    if (isAsked) return;
    pieces.push(bytes);
    const call = callIn(Buffer.concat(pieces), options.directory);
    if (call === "incomplete") return;
    isAsked = true;
    void reply(socket, call, { ...options, signal: gone.signal });
  });
}

async function reply(
  socket: Socket,
  call: Call | undefined,
  { place, identity, answer, signal }: AttendOptions & { readonly signal: AbortSignal },
): Promise<void> {
  const alive = setInterval(() => socket.write("."), SIGN_OF_LIFE_MS);
  let word = "n";
  try {
    const said = call === undefined ? "not-by-me" : await answer(call, signal);
    // A successor's word counts now, not ours.
    if (said !== "not-by-me" && place.isOwnedBy(identity)) word = wordOf(said);
  } catch {
    // The client meets the same, and tells what it is.
  } finally {
    clearInterval(alive);
  }
  socket.end(word);
}

function wordOf(said: Exclude<CallAnswer, string>): string {
  return "status" in said ? `e${String.fromCharCode(said.status)}` : `r${said.from}\0${said.to}\0`;
}

/** `undefined` for what is no call of this directory. */
function callIn(bytes: Buffer, ours: string): Call | "incomplete" | undefined {
  if (bytes.length < LENGTH_BYTES) return "incomplete";
  const length = bytes.readUInt32LE(0);
  if (length > CALL_BYTES_MAX) return undefined;
  if (bytes.length < LENGTH_BYTES + length) return "incomplete";
  const texts = bytes.toString("utf8", LENGTH_BYTES, LENGTH_BYTES + length).split("\0");
  const [directory, ...rest] = texts.slice(0, -1);
  const endOfArgs = rest.indexOf("");
  const isReadable = !rest.some((text) => text.includes(UNREADABLE));
  if (directory !== ours || endOfArgs < 0 || !isReadable) return undefined;
  const variables = rest.slice(endOfArgs + 1).map((text) => {
    const at = text.indexOf("=");
    return [text.slice(0, at), text.slice(at + 1)] as const;
  });
  return { args: rest.slice(0, endOfArgs), environment: Object.fromEntries(variables) };
}

function workingDirectory(): string {
  const { dev, ino } = statSync(".", { bigint: true });
  return `${dev}:${ino}`;
}
