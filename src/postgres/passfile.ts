/**
 * Password files as libpq reads them (its documentation, "The Password File"): lines of
 * `hostname:port:database:username:password`, `*` for any, a backslash before `:` and `\`.
 */
import { readFile, stat } from "node:fs/promises";

export interface PasswordUse {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

const OTHERS = 0o077;

/** The password of the first line that fits; `undefined` without one, or without such a file. */
export async function passwordIn(path: string, use: PasswordUse): Promise<string | undefined> {
  try {
    const { mode } = await stat(path);
    // libpq ignores a file that others may read, and so does whoever relies on that.
    if ((mode & OTHERS) !== 0) return undefined;
    return findPassword(await readFile(path, "utf8"), use);
  } catch {
    return undefined; // Without a password the server decides.
  }
}

/** The first four fields, each up to a colon that no backslash precedes, and the rest. */
const LINE = /^((?:[^\\:]|\\.)*):((?:[^\\:]|\\.)*):((?:[^\\:]|\\.)*):((?:[^\\:]|\\.)*):(.*)$/;

export function findPassword(text: string, use: PasswordUse): string | undefined {
  // A directory of sockets is called localhost there.
  const hosts = use.host.startsWith("/") ? ["localhost", use.host] : [use.host];
  const wanted = [hosts, [String(use.port)], [use.database], [use.user]];
  for (const line of text.split(/\r?\n/)) {
    const [, ...fields] = line.startsWith("#") ? [] : (LINE.exec(line) ?? []);
    const password = fields.pop();
    if (password === undefined) continue;
    const fits = fields.every((field, index) => {
      return field === "*" || wanted[index]?.includes(unescaped(field));
    });
    if (fits) return unescaped(password);
  }
  return undefined;
}

function unescaped(field: string): string {
  return field.replaceAll(/\\(.)/g, "$1");
}
