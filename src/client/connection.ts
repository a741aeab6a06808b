/** The connection under an exchange: a unix socket, TCP or TLS. */
import { connect, isIP, type OnReadOpts, type Socket } from "node:net";
import type { ServerAddress } from "../config/server-address.ts";
import { WalarcError } from "../errors.ts";

/** What the kernel fills with each piece of an answer. */
const BUFFER_BYTES = 262_144;

/** Where the server listens and what every request to it carries. */
export interface Endpoint {
  readonly address: ServerAddress;
  /** Such as the token. */
  readonly headers: Readonly<Record<string, string>>;
  /** PEM texts, for `https`. */
  readonly tls: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
  };
}

/** The server's address as people write it. */
export function describeServer(address: ServerAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `${address.tls ? "https" : "http"}://${hostAndPort(address)}`;
}

export function hostAndPort({ host, port }: { host: string; port: number }): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Begins to connect; the socket's `openingEvent` tells when it is through. */
export type Connector = (take: (bytes: Buffer) => void) => Socket;

/**
 * Prepares to connect. The socket hands its bytes to `take`, which only borrows them: all come in
 * the one buffer that the kernel fills. Rejects with `usage` when the TLS texts are of no use.
 */
export async function connectorTo(endpoint: Endpoint): Promise<Connector> {
  const begin = await beginner(endpoint);
  return (take) => {
    const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
    // The buffer it is called with: a runtime that reads into its own need not copy.
    const callback = (count: number, bytes: Uint8Array) => {
      take(Buffer.from(bytes.buffer, bytes.byteOffset, count));
      return true;
    };
    const socket = begin({ buffer, callback });
    readOnceMoreAfterWriteErrors(socket);
    return socket;
  };
}

async function beginner({ address, tls }: Endpoint): Promise<(onread: OnReadOpts) => Socket> {
  if (address.kind === "unix") return (onread) => connect({ path: address.path, onread });
  const { host, port } = address;
  // Node gives each address of a name 250 ms before it tries the next; a far server is no dead one.
  const options = { host, port, noDelay: true, autoSelectFamilyAttemptTimeout: 5000 };
  if (!address.tls) return (onread) => connect({ ...options, onread });

  const { connect: connectTls, createSecureContext } = await import("node:tls");
  const servername = isIP(host) === 0 ? { servername: host } : {};
  try {
    const secureContext = createSecureContext(tls);
    return (onread) => {
      // A name of its own, because the types lack `onread`: tls takes it as net does.
      const tls = { secureContext, rejectUnauthorized: true }; // Whatever the environment says.
      const tlsOptions = { ...options, ...servername, ...tls, onread };
      return connectTls(tlsOptions);
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("usage", `certificate or key cannot be used: ${why}`, { cause: error });
  }
}

/** Emitted by the socket once the request can be sent. */
export function openingEvent({ address }: Endpoint): "connect" | "secureConnect" {
  return address.kind === "tcp" && address.tls ? "secureConnect" : "connect";
}

/**
 * A server may answer early and close while we still send. Node takes the failed write for the end
 * of the socket and would drop the answer that has already arrived, so that end is put off until
 * the event loop has polled once more: nothing can arrive later.
 */
function readOnceMoreAfterWriteErrors(socket: Socket): void {
  const destroy = socket.destroy.bind(socket);
  socket.destroy = (error?: NodeJS.ErrnoException) => {
    if (error?.syscall !== "write") return destroy(error);
    // The first may run before the next poll, the second never does.
    setImmediate(() => setImmediate(() => destroy(error)));
    return socket;
  };
}

/** OpenSSL has several names for one thing that the caller can do. */
const NOBODY_VOUCHES = {
  why: "nobody whom this client trusts vouches for the server's certificate",
  hint: "give --ca-file FILE with the certificate of the authority that signed it",
};
const NO_TLS = {
  why: "the server does not speak TLS",
  hint: "write http:// instead of https://, or is it another server's port?",
};

const CONNECTION_ERRORS: Readonly<Record<string, { why: string; hint?: string }>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: NOBODY_VOUCHES,
  SELF_SIGNED_CERT_IN_CHAIN: NOBODY_VOUCHES,
  UNABLE_TO_GET_ISSUER_CERT: NOBODY_VOUCHES,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: NOBODY_VOUCHES,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: NOBODY_VOUCHES,
  CERT_SIGNATURE_FAILURE: NOBODY_VOUCHES,
  CERT_HAS_EXPIRED: {
    why: "the server's certificate has expired",
    hint: "put a new one into its cert_file and key_file: walarc takes it without a restart",
  },
  CERT_NOT_YET_VALID: {
    why: "the server's certificate is not valid yet",
    hint: "is the clock of this host right?",
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    why: "the server's certificate is for another name",
    hint: "give --server a name that stands in it as subjectAltName",
  },
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ENOENT: {
    why: "there is no such socket",
    hint: "is the daemon running, and is this its socket?",
  },
  ECONNREFUSED: {
    why: "connection refused",
    hint: "is the daemon running, and is this its address?",
  },
  ECONNRESET: { why: "the connection was reset" },
  EPIPE: { why: "the connection was reset" },
  ETIMEDOUT: { why: "connection timed out" },
  EHOSTUNREACH: { why: "no route to the host" },
  ENETUNREACH: { why: "no route to the network" },
  ENOTFOUND: { why: "no such host name" },
  EAI_AGAIN: { why: "the host name could not be looked up" },
  ENOTSOCK: { why: "this is no socket" },
};

/** What the failure of a connection means to the caller. */
export function connectionError(error: NodeJS.ErrnoException, where: string): WalarcError {
  // A name with several addresses fails with one error for each; the first speaks for them.
  const first =
    error instanceof AggregateError ? (error.errors[0] as NodeJS.ErrnoException) : error;
  if (where.startsWith("unix:") && (first.code === "EACCES" || first.code === "EPERM")) {
    const hint = "the socket's permissions decide who may push and fetch: see socket_mode";
    return new WalarcError("denied", `${where}: permission denied`, { hint, cause: error });
  }
  const known = CONNECTION_ERRORS[first.code ?? ""];
  const why = known?.why ?? first.message;
  const hint = known?.hint === undefined ? {} : { hint: known.hint };
  return new WalarcError("unreachable", `${where}: ${why}`, { ...hint, cause: error });
}
