/** Asking a server over SQL which WAL it needs to restart. Any role may ask (12 to 18). */
import { readFile } from "node:fs/promises";
import { isIP, Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { Client } from "pg";
import type { Conninfo } from "../config/conninfo.ts";
import { WalarcError } from "../errors.ts";
import { passwordIn } from "./passfile.ts";

export interface ServerAnswer {
  /** Not to be guessed from anything else: a promoted server keeps its old replay position. */
  readonly role: "standby" | "primary";
  /** Decimal. */
  readonly systemIdentifier: string;
  /** The segment of its last restart point's redo position: on a standby exactly `%r`. */
  readonly restartPoint: string;
}

/** Read from the control file at each call (pg_controldata.c). */
const QUESTION = `
  select pg_catalog.pg_is_in_recovery() as in_recovery, s.system_identifier::text, c.redo_wal_file
    from pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_system() s`;

const CONNECT_MS_MAX = 5000;
const ANSWER_MS_MAX = 5000;

/**
 * Resolves to what the server says of itself. Rejects with `unreachable` when it does not answer in
 * time, refuses, or is not ready, with a message that holds no secret.
 */
export async function askServer(
  server: Conninfo,
  options: { signal: AbortSignal },
): Promise<ServerAnswer> {
  const failures: Error[] = [];
  for (const isEncrypted of waysTo(server)) {
    try {
      return await askOnce(server, { ...options, isEncrypted });
    } catch (error) {
      options.signal.throwIfAborted();
      failures.push(error instanceof Error ? error : new Error(String(error)));
      // The other way may only help where this one was refused.
      if (!isRefusalOfWay(failures.at(-1)?.message ?? "")) break;
    }
  }
  const why = failures.map((failure) => failure.message || failure.name).join("; ");
  throw new WalarcError("unreachable", `the server does not answer: ${why}`, {
    hint: "check its conninfo: host, port, user, password and pg_hba.conf",
    cause: failures[0],
  });
}

/** Encrypted or not, in the order of libpq's sslmode; sockets on this host never are. */
function waysTo({ host, sslMode }: Conninfo): boolean[] {
  if (host.startsWith("/") || sslMode === "disable") return [false];
  if (sslMode === "allow") return [false, true];
  return sslMode === "prefer" ? [true, false] : [true];
}

function isRefusalOfWay(message: string): boolean {
  return /does not support SSL|pg_hba\.conf|SSL/i.test(message);
}

async function askOnce(
  server: Conninfo,
  { signal, isEncrypted }: { signal: AbortSignal; isEncrypted: boolean },
): Promise<ServerAnswer> {
  const password = server.password ?? (await passwordOf(server));
  const ssl = isEncrypted ? await tlsFor(server) : false;
  signal.throwIfAborted();
  // A socket of our own can be ended whatever the client waits for.
  const socket = new Socket();
  const client = new Client({
    host: server.hostaddr ?? server.host,
    port: server.port,
    user: server.user,
    database: server.database,
    // Never undefined: the client would look for one elsewhere.
    password: password ?? "",
    ssl,
    stream: () => socket,
    application_name: server.applicationName,
    connectionTimeoutMillis: server.connectTimeoutMs ?? CONNECT_MS_MAX,
    query_timeout: ANSWER_MS_MAX,
    statement_timeout: ANSWER_MS_MAX,
    ...(server.options === undefined ? {} : { options: server.options }),
  });
  client.on("error", () => {}); // The call under way rejects, and tells.
  const abort = () => void socket.destroy(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await client.connect();
    const { rows } = await client.query<Record<string, unknown>>(QUESTION);
    void client.end().catch(() => {}); // Says goodbye, so that the server logs no broken pipe.
    return requireAnswer(rows[0]);
  } finally {
    signal.removeEventListener("abort", abort);
    socket.destroySoon();
  }
}

async function passwordOf(server: Conninfo): Promise<string | undefined> {
  return server.passfile === undefined ? undefined : passwordIn(server.passfile, server);
}

/** `require` asks for encryption alone, unless a root is given: then it is `verify-ca`. */
async function tlsFor(server: Conninfo): Promise<ConnectionOptions> {
  const { sslMode, sslRootCertFile, sslCertFile, sslKeyFile, host } = server;
  const isVerified =
    sslMode.startsWith("verify") || (sslMode === "require" && sslRootCertFile !== undefined);
  return {
    rejectUnauthorized: isVerified,
    // An address is no name to ask for.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(sslMode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
    ...(sslRootCertFile === undefined ? {} : { ca: await readFile(sslRootCertFile) }),
    ...(sslCertFile === undefined ? {} : { cert: await readFile(sslCertFile) }),
    ...(sslKeyFile === undefined ? {} : { key: await readFile(sslKeyFile) }),
  };
}

function requireAnswer(row: Record<string, unknown> | undefined): ServerAnswer {
  const { in_recovery, system_identifier, redo_wal_file } = row ?? {};
  const isWhole =
    typeof in_recovery === "boolean" &&
    typeof system_identifier === "string" &&
    typeof redo_wal_file === "string";
  if (!isWhole) throw new Error("its answer makes no sense");
  return {
    role: in_recovery ? "standby" : "primary",
    // SQL has no unsigned numbers.
    systemIdentifier: BigInt.asUintN(64, BigInt(system_identifier)).toString(),
    restartPoint: redo_wal_file,
  };
}
