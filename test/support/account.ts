import { readFileSync } from "node:fs";

/** The operating system account that PostgreSQL, its commands and the daemon run as in tests. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Accounts that may play the database's operating system user, best first. */
const CANDIDATES = ["postgres", "nobody", "daemon"];

/**
 * PostgreSQL refuses to run as root, so a test run as root borrows an account without rights. Any
 * other test run uses its own. initdb wants the account to have a line in /etc/passwd.
 */
export function serverAccount(): Account {
  const own = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };
  if (own.uid !== 0) return { name: `uid ${own.uid}`, ...own };

  const accounts = readFileSync("/etc/passwd", "utf8").split("\n").map(parseAccount);
  for (const candidate of CANDIDATES) {
    const account = accounts.find((entry) => entry?.name === candidate);
    if (account !== undefined) return account;
  }
  throw new Error(`none of the accounts ${CANDIDATES.join(", ")} is in /etc/passwd`);
}

function parseAccount(line: string): Account | undefined {
  const [name, , uid, gid] = line.split(":");
  if (name === undefined || uid === undefined || gid === undefined) return undefined;
  return { name, uid: Number(uid), gid: Number(gid) };
}
