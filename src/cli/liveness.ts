/** Signs of life for systemd's watchdog, given only while the daemon's own listener answers. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { request as encryptedRequest } from "node:https";
import type { Daemon } from "../daemon.ts";
import { WalarcError } from "../errors.ts";
import { startLoop, withDeadline } from "../lifecycle.ts";
import type { Supervisor } from "./supervisor.ts";

/** What of a daemon is asked. */
export type Living = Pick<Daemon, "listeners" | "readiness">;

/** A missed sign is tried again at least so often, in the second half of the watchdog's time. */
const RETRY_MS_MAX = 5000;

/**
 * Tells the supervisor twice in its time that the daemon lives, and how it fares. A process that
 * exists proves nothing: only one whose event loop turns and whose listener answers gives a sign.
 * Storage is not asked: no restart heals that, and the other clusters would suffer from it.
 * Disposing the result waits for a sign under way. Without a watchdog nothing is done.
 */
export function startLifeSigns(
  daemon: Living,
  options: {
    supervisor: Supervisor;
    log: { warn(fields: object, message: string): void };
  },
): AsyncDisposable {
  const { supervisor, log } = options;
  const { watchdogMs } = supervisor;
  if (watchdogMs === undefined) return new AsyncDisposableStack();
  const retryMsMax = Math.min(RETRY_MS_MAX, watchdogMs / 8);
  return startLoop(
    async (signal) => {
      await requireAnswer(daemon.listeners, { deadlineMs: watchdogMs / 4, signal });
      await supervisor.tell({ WATCHDOG: "1", STATUS: statusLine(daemon) });
    },
    { name: "liveness", intervalMs: watchdogMs / 2, retryMsMax, log },
  );
}

/** How the daemon fares, in one line for `systemctl status`. */
export function statusLine({ listeners, readiness }: Living): string {
  const { ready, reasons } = readiness();
  const { socket, listen, isEncrypted } = listeners;
  const why = reasons.map(({ text }) => text).join("; ");
  const tcp = listen !== undefined && isEncrypted === true ? `${listen} (TLS)` : listen;
  const where = [socket, tcp].filter((one) => one !== undefined).join(" and ");
  return ready ? `serving on ${where}` : `serving on ${where}; not ready: ${why}`;
}

/** Rejects with `unreachable` when the daemon does not say in time that it is well. */
export async function requireAnswer(
  listeners: Living["listeners"],
  { deadlineMs, signal }: { deadlineMs: number; signal: AbortSignal },
): Promise<void> {
  const where = listeners.socket ?? listeners.listen;
  const silent = () => new WalarcError("unreachable", `no answer from ${where} to /healthz`);
  await withDeadline(
    async (signal) => {
      const status = await askHealth(listeners, signal);
      if (status !== 200) throw new WalarcError("unreachable", `/healthz answered ${status}`);
    },
    { deadlineMs, signal, expired: silent },
  );
}

async function askHealth(
  { socket, listen, isEncrypted }: Living["listeners"],
  signal: AbortSignal,
): Promise<number | undefined> {
  const [host, port] = reachable(listen ?? "");
  const where = socket === undefined ? { host, port } : { socketPath: socket };
  const wanted = { ...where, path: "/healthz", agent: false, signal };
  const asked =
    socket === undefined && isEncrypted === true
      ? // It is ourselves whom we ask, and nothing secret: any certificate will do.
        encryptedRequest({ ...wanted, rejectUnauthorized: false })
      : request(wanted);
  try {
    const [answer] = (await once(asked.end(), "response")) as [IncomingMessage];
    answer.resume();
    return answer.statusCode;
  } finally {
    asked.on("error", () => {}); // Of its end, which nobody waits for any more.
    asked.destroy();
  }
}

/** Where this host reaches a listener; one on all addresses also by that of the loopback. */
function reachable(listen: string): [host: string, port: number] {
  const [, host = "", port] = /^\[?(.*?)\]?:(\d+)$/.exec(listen) ?? [];
  if (host === "0.0.0.0") return ["127.0.0.1", Number(port)];
  return [host === "::" ? "::1" : host, Number(port)];
}
