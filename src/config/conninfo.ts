/**
 * Connection strings as libpq takes them (its documentation, "Connection Strings"):
 *
 *     host=s1 port=5432 dbname='it''s here\'s one' user = walarc
 *     postgresql://walarc@s1:5432/postgres?sslmode=verify-full
 *
 * What libpq knows and walarc does not do (several hosts, Kerberos, service files) is refused.
 */
import { userInfo } from "node:os";
import { WalarcError } from "../errors.ts";

export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";

export interface Conninfo {
  /** A name or address, or a directory of unix sockets. */
  readonly host: string;
  /** Where to connect instead of looking the host up. */
  readonly hostaddr: string | undefined;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly password: string | undefined;
  /** Where to look for the password when none is given. */
  readonly passfile: string | undefined;
  readonly sslMode: SslMode;
  readonly sslRootCertFile: string | undefined;
  readonly sslCertFile: string | undefined;
  readonly sslKeyFile: string | undefined;
  readonly applicationName: string;
  /** `undefined`: whatever the caller finds right. */
  readonly connectTimeoutMs: number | undefined;
  /** Command-line options for the server. */
  readonly options: string | undefined;
}

const KEYWORDS = [
  "host",
  "hostaddr",
  "port",
  "dbname",
  "user",
  "password",
  "passfile",
  "connect_timeout",
  "application_name",
  "fallback_application_name",
  "options",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
] as const;
type Keyword = (typeof KEYWORDS)[number];

const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
const URI = /^postgres(?:ql)?:\/\//i;

/** Where libpq's own variables stand: they count where the string says nothing. */
const VARIABLES: Readonly<Partial<Record<Keyword, string>>> = {
  host: "PGHOST",
  hostaddr: "PGHOSTADDR",
  port: "PGPORT",
  dbname: "PGDATABASE",
  user: "PGUSER",
  password: "PGPASSWORD",
  passfile: "PGPASSFILE",
  connect_timeout: "PGCONNECT_TIMEOUT",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
};

/** The connection, or why the text is none: a phrase to be read after "it". Quotes no values. */
export function parseConninfo(
  text: string,
  surroundings: {
    readonly environment: Readonly<Record<string, string | undefined>>;
    /** Name and home of the system's user, for what nobody gave. */
    readonly account: { readonly name: string; readonly home: string };
  },
): Conninfo | { readonly problem: string } {
  const given = URI.test(text) ? parseUri(text) : parsePairs(text);
  if ("problem" in given) return given;
  const { environment, account } = surroundings;
  const find = (keyword: Keyword): string | undefined => {
    // An empty value counts as none, as it does for libpq.
    const variable = VARIABLES[keyword];
    const fallback = variable === undefined ? undefined : environment[variable];
    return given.values.get(keyword) || fallback || undefined;
  };

  const host = find("host");
  if ((host ?? find("hostaddr") ?? "").includes(",")) return { problem: "names several hosts" };
  const port = numberOf(find("port") ?? "5432", { max: 65_535 });
  if (port === undefined || port === 0) return { problem: "has a port that is no port" };
  const timeout = numberOf(find("connect_timeout") ?? "0", { max: 3600 });
  if (timeout === undefined) return { problem: "has a connect_timeout that is no whole number" };
  const sslMode = SSL_MODES.find((mode) => mode === (find("sslmode") ?? "prefer"));
  if (sslMode === undefined) return { problem: "has an unknown sslmode" };
  const user = find("user") ?? account.name;
  return {
    host: host ?? find("hostaddr") ?? "/var/run/postgresql",
    hostaddr: find("hostaddr"),
    port,
    user,
    database: find("dbname") ?? user,
    password: find("password"),
    passfile: find("passfile") ?? `${account.home}/.pgpass`,
    sslMode,
    sslRootCertFile: find("sslrootcert"),
    sslCertFile: find("sslcert"),
    sslKeyFile: find("sslkey"),
    applicationName: find("application_name") ?? find("fallback_application_name") ?? "walarc",
    connectTimeoutMs: timeout === 0 ? undefined : timeout * 1000,
    options: find("options"),
  };
}

type Given = { readonly values: Map<Keyword, string> } | { readonly problem: string };

/** `keyword = value`, separated by white space; quotes and backslashes as in conninfo_parse. */
const PAIR =
  /^\s*([^\s=]+)\s*=\s*(?:'((?:[^'\\]|\\[^])*)'|((?:[^\s'\\]|\\[^])(?:[^\s\\]|\\[^])*)?)(?=\s|$)/;

function parsePairs(text: string): Given {
  const values = new Map<Keyword, string>();
  for (let rest = text; rest.trim() !== ""; ) {
    const [pair, word = "", quoted, bare = ""] = PAIR.exec(rest) ?? [];
    if (pair === undefined) return { problem: 'is not a list of keyword=value, or a "\'" is open' };
    const keyword = keywordOf(word);
    if (keyword === undefined) return unknown(word);
    values.set(keyword, (quoted ?? bare).replaceAll(/\\([^])/g, "$1"));
    rest = rest.slice(pair.length);
  }
  return { values };
}

function parseUri(text: string): Given {
  const [, user, password, hosts = "", database, query = ""] =
    /^[^:]+:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(
      text,
    ) ?? [];
  const [, host, port] = /^(\[[^\]]*\]|[^:,[\]]*)(?::(\d*))?$/.exec(hosts) ?? [];
  if (host === undefined) {
    return { problem: hosts.includes(",") ? "names several hosts" : "is not a connection URI" };
  }
  const parts: [string, string | undefined][] = [
    ["user", user],
    ["password", password],
    ["host", host.replace(/^\[(.*)\]$/, "$1")],
    ["port", port],
    ["dbname", database],
    ...query.split("&").filter(Boolean).map(parameterOf),
  ];
  const values = new Map<Keyword, string>();
  for (const [word, encoded] of parts) {
    const keyword = keywordOf(word);
    if (keyword === undefined) return unknown(word);
    const value = decoded(encoded ?? "");
    if (value === undefined) return { problem: `has a "%" in ${keyword} that begins no escape` };
    if (value !== "") values.set(keyword, value);
  }
  return { values };
}

function parameterOf(text: string): [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // The caller says which part it is in.
  }
}

function keywordOf(word: string): Keyword | undefined {
  return KEYWORDS.find((keyword) => keyword === word);
}

/** A word only: what stands in a wrong place may be a password. */
function unknown(word: string): { problem: string } {
  const shown = /^[a-z_]{1,40}$/.test(word) ? `"${word}"` : "something";
  return { problem: `has ${shown} where one of ${KEYWORDS.join(", ")} is expected` };
}

function numberOf(text: string, { max }: { max: number }): number | undefined {
  const number = /^\d{1,6}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return number <= max ? number : undefined;
}

/** The connection as this process would make it. Throws `usage`. */
export function requireConninfo(text: string): Conninfo {
  const parsed = parseConninfo(text, { environment: process.env, account: accountOf() });
  if (!("problem" in parsed)) return parsed;
  throw new WalarcError("usage", `the conninfo ${parsed.problem}`);
}

function accountOf(): { name: string; home: string } {
  try {
    const { username, homedir } = userInfo();
    return { name: username, home: homedir };
  } catch {
    return { name: "postgres", home: "/" }; // A container may run as a user without a name.
  }
}
