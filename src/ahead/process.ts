/** Which process is which: a number alone is soon another's. */
import { readFileSync } from "node:fs";

/** `PID STARTED`, the same for no other process of this boot; `undefined` when there is none. */
export function processIdentity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command's name, in parentheses, may hold blanks and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startedAt] = [fields[0], fields[19]];
    return state === "Z" || startedAt === undefined ? undefined : `${pid} ${startedAt}`;
  } catch {
    return undefined;
  }
}

/** Whether the process with this identity is still there. */
export function isThere(identity: string): boolean {
  const pid = Number.parseInt(identity, 10);
  return pid > 0 && processIdentity(pid) === identity;
}
