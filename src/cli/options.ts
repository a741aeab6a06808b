/**
 * The command line and the options that every client command shares. Push and fetch load this once
 * per segment, so it stays light: TOML is imported only when a configuration file speaks to
 * clients at all.
 */
import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { CLIENT_KEYS, type ClientKey, type ClientSetting } from "../config/client-keys.ts";
import {
  DEFAULT_CLUSTER,
  DEFAULT_CONFIG_FILE,
  DEFAULT_LISTEN,
  DEFAULT_SOCKET,
} from "../config/places.ts";
import { requireServerAddress, type ServerAddress } from "../config/server-address.ts";
import { closest } from "../config/spelling.ts";
import { isClusterName, parseDurationMs, parseSizeBytes } from "../config/units.ts";
import { WalarcError } from "../errors.ts";

export type FlagKind = "string" | "boolean";

/** What one command takes beside the flags of every command. */
export interface CommandShape {
  readonly command: string;
  /** Names of the arguments, all required: `["NAME", "DESTINATION"]`. */
  readonly positionals: readonly string[];
  /** The command's own flags, without dashes. */
  readonly flags?: Readonly<Record<string, FlagKind>>;
  /** Does not talk to the daemon, so the flags of client commands are unknown to it. */
  readonly kind?: "local";
}

export interface CommandLine {
  readonly positionals: readonly string[];
  /** Flags with a value, as given: `values["token-file"]`. */
  readonly values: Readonly<Record<string, string | undefined>>;
  /** Flags without a value that were given: `switches.has("json")`. `help` and `verbose` are known
   *  to every command. With `help` the arguments are not checked. */
  readonly switches: ReadonlySet<string>;
}

/** What a client command needs to call the daemon. */
export interface ClientOptions {
  readonly server: ServerAddress;
  readonly cluster: string;
  /** Whether anybody named the cluster, or it is the default. */
  readonly isClusterNamed: boolean;
  readonly token: string | undefined;
  readonly tls: {
    readonly caFile: string | undefined;
    readonly certFile: string | undefined;
    readonly keyFile: string | undefined;
  };
  /** Total deadline of the call; `undefined`: the command's own default. */
  readonly timeoutMs: number | undefined;
  /** What may be fetched ahead; 0: nothing, `undefined`: nobody said. */
  readonly prefetchBytes: number | undefined;
  /** What may be archived ahead; 0: nothing, `undefined`: nobody said. */
  readonly lookAheadBytes: number | undefined;
  /** The configuration file that was read, if any. */
  readonly configFile: string | undefined;
}

/** setTimeout's largest delay; a longer deadline would fire at once. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Takes a command's arguments apart; everything unknown, missing or left over is `usage`. */
export function parseCommandLine(args: readonly string[], shape: CommandShape): CommandLine {
  const flags = flagsOf(shape);
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      [...flags].map(([name, type]) => [name, name === "help" ? { type, short: "h" } : { type }]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });

  const positionals: string[] = [];
  const values: Record<string, string> = {};
  const switches = new Set<string>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const kind = flags.get(token.name);
    if (kind === undefined) throw unknownFlag(token.rawName, shape, flags);
    if (kind === "string") values[token.name] = requireValue(token);
    else if (token.value === undefined) switches.add(token.name);
    else throw new WalarcError("usage", `${token.rawName} takes no value`);
  }

  if (!switches.has("help")) checkPositionals(positionals, shape);
  return { positionals, values, switches };
}

/**
 * The options of a client command: a flag wins over the environment, which wins over the `[client]`
 * table of the configuration file. Rejects with `usage`, or `local` when the token cannot be read.
 */
export async function resolveClientOptions(
  line: Pick<CommandLine, "values">,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<ClientOptions> {
  const file = await readClientTable(line.values["config"] ?? environment["WALARC_CONFIG"]);
  const find = (key: ClientKey): ClientSetting | undefined => {
    const flag = line.values[key];
    if (flag !== undefined) return { text: flag, source: `--${key}` };
    const variable = `WALARC_${key.toUpperCase().replaceAll("-", "_")}`;
    const value = environment[variable];
    // An empty variable counts as unset: that is how scripts and units take one back.
    if (value !== undefined && value !== "") return { text: value, source: variable };
    return file.entries.get(key);
  };

  const server = find("server");
  const cluster = find("cluster");
  const timeout = find("timeout");
  const [prefetch, lookAhead] = [find("prefetch"), find("look-ahead")];
  const tokenFile = find("token-file");
  const [certFile, keyFile] = [find("cert-file"), find("key-file")];
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [given, missing] = certFile ? [certFile, "--key-file"] : [keyFile, "--cert-file"];
    throw new WalarcError("usage", `${given?.source} is given without ${missing}`);
  }
  if (cluster !== undefined && !isClusterName(cluster.text)) {
    throw new WalarcError("usage", `${cluster.source} "${cluster.text}" is not a cluster name`, {
      hint: "a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit",
    });
  }

  return {
    server: server ? requireServerAddress(server.text, server.source) : defaultServer(),
    cluster: cluster?.text ?? DEFAULT_CLUSTER,
    isClusterNamed: cluster !== undefined,
    token: tokenFile && readToken(tokenFile.text, tokenFile.source),
    tls: {
      caFile: find("ca-file")?.text,
      certFile: certFile?.text,
      keyFile: keyFile?.text,
    },
    timeoutMs: timeout && requireTimeoutMs(timeout.text, timeout.source),
    prefetchBytes: prefetch && requireSizeBytes(prefetch),
    lookAheadBytes: lookAhead && requireSizeBytes(lookAhead),
    configFile: file.path,
  };
}

function flagsOf(shape: CommandShape): Map<string, FlagKind> {
  const common: [string, FlagKind][] = [
    ["help", "boolean"],
    ["verbose", "boolean"],
  ];
  if (shape.kind !== "local") {
    for (const key of CLIENT_KEYS) common.push([key, "string"]);
    common.push(["config", "string"]);
  }
  return new Map([...common, ...Object.entries(shape.flags ?? {})]);
}

function requireValue(token: {
  rawName: string;
  value: string | undefined;
  inlineValue: boolean | undefined;
}): string {
  const { rawName, value, inlineValue } = token;
  if (value === undefined || value === "" || (value.startsWith("-") && inlineValue !== true)) {
    const hint = value ? `write ${rawName}=${value} if that is the value` : undefined;
    throw new WalarcError("usage", `${rawName} needs a value`, hint ? { hint } : {});
  }
  return value;
}

function unknownFlag(raw: string, shape: CommandShape, flags: Map<string, FlagKind>): WalarcError {
  const near = closest(raw.replace(/^-+/, ""), flags.keys());
  const hint =
    near === undefined ? `see walarc ${shape.command} --help` : `did you mean --${near}?`;
  return new WalarcError("usage", `unknown option "${raw}"`, { hint });
}

function checkPositionals(positionals: readonly string[], shape: CommandShape): void {
  const missing = shape.positionals[positionals.length];
  const extra = positionals[shape.positionals.length];
  const hint = ["usage: walarc", shape.command, ...shape.positionals].join(" ");
  if (missing !== undefined) throw new WalarcError("usage", `missing ${missing}`, { hint });
  if (extra !== undefined) {
    throw new WalarcError("usage", `unexpected argument "${extra}"`, { hint });
  }
  const empty = positionals.indexOf("");
  if (empty >= 0) throw new WalarcError("usage", `${shape.positionals[empty]} is empty`, { hint });
}

interface ClientTable {
  readonly path: string | undefined;
  readonly entries: ReadonlyMap<ClientKey, ClientSetting>;
}

/** The `[client]` table of the named file, which must exist, or of the default one if it exists. */
async function readClientTable(named: string | undefined): Promise<ClientTable> {
  const path = named || DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    if (!named && (code === "ENOENT" || code === "ENOTDIR")) {
      return { path: undefined, entries: new Map() };
    }
    // Not ignored when it is merely unreadable: it may name another server or cluster.
    throw new WalarcError("usage", `cannot read the configuration file "${path}" (${code})`, {
      hint: "make it readable, or name another file with --config (/dev/null for none)",
      cause: error,
    });
  }

  // Most files on a database host are the daemon's. Parsing TOML costs more than all the rest here,
  // so it is left out unless the word occurs, or an escape that could spell it.
  if (!/\bclient\b|\\[uUx]/.test(text)) return { path, entries: new Map() };
  const { parseClientTable } = await import("../config/client-table.ts");
  return { path, entries: parseClientTable(text, path) };
}

function defaultServer(): ServerAddress {
  return existsSync(DEFAULT_SOCKET)
    ? { kind: "unix", path: DEFAULT_SOCKET }
    : requireServerAddress(`http://${DEFAULT_LISTEN}`, "the default server");
}

/** The token in a file: one line of visible ASCII, which fits an HTTP header as it is. */
function readToken(path: string, source: string): string {
  let token: string;
  try {
    token = readFileSync(path, "utf8").trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new WalarcError("local", `cannot read the token file "${path}" (${code})`, {
      hint: `${source} names it; it must be readable by the user that runs this command`,
      cause: error,
    });
  }
  if (token === "") throw new WalarcError("usage", `the token file "${path}" is empty`);
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new WalarcError("usage", `the token file "${path}" holds more than one token`, {
      hint: "it must hold one line without spaces, control characters or letters beyond ASCII",
    });
  }
  return token;
}

function requireTimeoutMs(text: string, source: string): number {
  const ms = /^[0-9]*\.?[0-9]+$/.test(text)
    ? Math.ceil(Number(text) * 1000)
    : parseDurationMs(text);
  if (ms === undefined || ms <= 0 || ms > TIMEOUT_MS_MAX) {
    throw new WalarcError("usage", `${source} "${text}" is not a number of seconds above 0`, {
      hint: "write 30, 0.5 or 2m",
    });
  }
  return ms;
}

function requireSizeBytes({ text, source }: ClientSetting): number {
  const bytes = /^[0-9]{1,15}$/.test(text) ? Number(text) : parseSizeBytes(text);
  if (bytes !== undefined) return bytes;
  throw new WalarcError("usage", `${source} "${text}" is not a size`, {
    hint: "write 256MB or 1GB, or 0 for nothing",
  });
}
