/** What the data directory, which is the working directory, says about its server. */
import { existsSync, readFileSync } from "node:fs";

/**
 * The process id of the server, by its `postmaster.pid`; `undefined` when no server runs here.
 */
export function postmasterPid(): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync("postmaster.pid", "latin1"), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether the server is in archive recovery: it removes its signal file before it takes writes
 * (StartupXLOG in xlog.c).
 */
export function isRecovering(): boolean {
  return ["standby.signal", "recovery.signal", "recovery.conf"].some((name) => existsSync(name));
}
