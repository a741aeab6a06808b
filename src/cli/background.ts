/** The processes beside a server that do things before PostgreSQL asks for them. */
import { postmasterPid } from "../ahead/postmaster.ts";
import type { PrivatePlace } from "../ahead/private-place.ts";
import { processIdentity } from "../ahead/process.ts";
import { describeServer } from "../client/connection.ts";
import { identityHeader } from "./identity.ts";
import type { ClientOptions } from "./options.ts";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
/** The first process reaps whatever loses its parent. */
const REAPER_PID = 1;

/** What the work of such a process must fit to; `undefined` where the database is not known. */
export function purposeOf(
  options: ClientOptions,
): { readonly systemIdentifier: string; readonly archive: readonly string[] } | undefined {
  const { "Walarc-System-Identifier": systemIdentifier } = identityHeader();
  if (systemIdentifier === undefined) return undefined;
  const { caFile = "", certFile = "", keyFile = "" } = options.tls;
  const credentials = [options.token ?? "", caFile, certFile, keyFile];
  return {
    systemIdentifier,
    archive: [describeServer(options.server), options.cluster, ...credentials],
  };
}

/**
 * Whether a server runs in the working directory that does not mind such a process. As the first
 * process of a container PostgreSQL inherits every process that loses its parent, and takes one
 * that is killed for a crashed backend (postmaster.c).
 */
export function isServerHere(): boolean {
  const server = postmasterPid();
  return server !== undefined && server !== REAPER_PID;
}

/**
 * Starts `walarc COMMAND` with the arguments of this call and entrusts the place to it. It stays in
 * the process group of the PostgreSQL process that made the call, which is signalled as a whole
 * when the server shuts down, and has nothing of the server's open files. Rejects when it cannot be
 * started.
 */
export async function startInBackground(
  command: "prefetch" | "ship",
  args: readonly string[],
  place: PrivatePlace,
): Promise<void> {
  const { spawn } = await import("node:child_process");
  const [, script = ""] = process.argv;
  // In the standalone client the script is within the executable.
  const program = script.startsWith("/$bunfs/") ? [] : [script];
  const child = spawn(process.execPath, [...program, command, ...args], {
    stdio: "ignore",
    env: enduring(process.env),
  });
  child.once("error", () => {});
  child.unref();
  const identity = child.pid === undefined ? undefined : processIdentity(child.pid);
  if (identity !== undefined) place.entrust(identity);
}

/** Without what `bin/walarc` sets for a process that is over at once. */
function enduring(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { BUN_JSC_useJIT: _jit, WALARC_WAITED_MS: _waited, ...rest } = environment;
  return rest;
}

/**
 * Does the work of a background command until a signal ends it. Resolves always to 0: whoever
 * inherits the process shall find nothing wrong with its end.
 */
export async function runInBackground(
  work: (own: { readonly identity: string; readonly signal: AbortSignal }) => Promise<void>,
): Promise<number> {
  const stop = new AbortController();
  for (const signal of SIGNALS) process.on(signal, () => stop.abort());
  try {
    const identity = processIdentity(process.pid);
    if (identity !== undefined) await work({ identity, signal: stop.signal });
  } catch {
    // The call that started it has the same arguments, and says what is wrong with them.
  }
  return 0;
}
