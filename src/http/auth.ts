/** Who may do what: decided from the head of a request, before any of its body. */
import type { IncomingMessage } from "node:http";
import { WalarcError } from "../errors.ts";
import type { ClientCertificate } from "./client-certificate.ts";
import { isSameDigest, tokenDigest } from "../token.ts";

/** `report`: restart points. `read`: status, listing, metrics. `admin`: prune, holds, forget. */
export type Scope = "push" | "fetch" | "report" | "read" | "admin";

export interface Token {
  readonly name: string;
  /** Of the token's text; hex. */
  readonly sha256: string;
  /** Names of clusters, or `*`. */
  readonly clusters: readonly string[];
  readonly scopes: readonly Scope[];
}

/** What those may do who show a certificate with this name: its CN, or one of its DNS names. */
export interface Certificate extends Right {
  readonly name: string;
}

/** A right: these scopes on these clusters. */
type Right = Pick<Token, "clusters" | "scopes">;

export interface Caller {
  /** Of token or certificate; `undefined` for a stranger, or where everybody may do everything. */
  readonly name: string | undefined;
  /** Known by a token or certificate, or trusted because of the listener. */
  readonly isKnown: boolean;
  readonly rights: readonly Right[];
  /** What was shown, if anything: also one that nobody knows. */
  readonly certificate?: ClientCertificate | undefined;
  /** How a stranger would have become known. */
  readonly hint?: string;
}

/** The rules of one listener. */
export interface Access {
  callerOf(request: IncomingMessage): Caller;
}

const EVERYTHING: Right = { clusters: ["*"], scopes: ["push", "fetch", "report", "read", "admin"] };
const READING: Right = { clusters: ["*"], scopes: ["read"] };

/** For the unix socket, whose file mode has decided already, and for `auth = "none"`. */
export function openAccess(): Access {
  return { callerOf: () => EVERYBODY };
}

const EVERYBODY: Caller = { name: undefined, isKnown: true, rights: [EVERYTHING] };

/**
 * For `auth = "none"` on a loopback address: everything is open to programs on this host, but not
 * to the pages that a browser on it shows.
 */
export function loopbackAccess(): Access {
  const stranger: Caller = { name: undefined, isKnown: false, rights: [], hint: HOST_HINT };
  return { callerOf: (request) => (isForThisHost(request) ? EVERYBODY : stranger) };
}

/** The rules of a listener on TCP. */
export interface AccessRules {
  /** Whether what the `read` scope covers is open to programs on this host. */
  readonly loopbackRead: "open" | "closed";
  readonly certificates?: readonly Certificate[];
  /** What the sender of a request has shown. */
  readonly shownBy?: (request: IncomingMessage) => ClientCertificate | undefined;
}

/**
 * Tokens as Bearer or as the password of Basic, and client certificates. Who comes with both may do
 * what either allows.
 */
export function tokenAccess(tokens: readonly Token[], rules: AccessRules): Access {
  const { loopbackRead, certificates = [], shownBy = () => undefined } = rules;
  const known = tokens.map((token) => ({ token, digest: Buffer.from(token.sha256, "hex") }));
  for (const { token, digest } of known) {
    if (digest.length !== 32) throw new Error(`token "${token.name}" has no sha256`);
  }
  const ways = certificates.length === 0 ? TOKEN_HINT : `${CERTIFICATE_HINT}, or ${TOKEN_HINT}`;
  return {
    callerOf(request) {
      const certificate = shownBy(request);
      const found = [
        ...findTokens(known, presentedToken(request)),
        ...certificates.filter(({ name }) => isNamed(certificate, name)),
      ];
      const isLocal = loopbackRead === "open" && isLocalPeer(request);
      const isOpen = isLocal && isForThisHost(request);
      return {
        name: found[0]?.name,
        isKnown: found.length > 0,
        rights: isOpen ? [...found, READING] : found,
        certificate,
        hint: isLocal && !isOpen ? HOST_HINT : ways,
      };
    },
  };
}

const TOKEN_HINT =
  'give --token-file FILE, or send "Authorization: Bearer TOKEN"; see "walarc token"';
const HOST_HINT =
  "without a token this host is only told what it asks of 127.0.0.1, [::1] or localhost";
const CERTIFICATE_HINT = "give --cert-file FILE and --key-file FILE";

/** A name of a host is the same in any case; any other one is exact, as in PostgreSQL. */
function isNamed(certificate: ClientCertificate | undefined, name: string): boolean {
  if (certificate === undefined || certificate.problem !== undefined) return false;
  return certificate.commonName === name || certificate.dnsNames.includes(name.toLowerCase());
}

/** The caller, who may do this to the cluster; throws `denied`, 401 or 403. */
export function requireRight(caller: Caller, scope: Scope, cluster: string): Caller {
  if (caller.rights.some((right) => allows(right, scope, cluster))) return caller;
  throw denied(caller, `${scope} in cluster "${cluster}"`, scope);
}

/**
 * Tells the clusters where the caller may do this; throws `denied` when there can be none. For
 * answers about all clusters, which show each caller its own.
 */
export function requireSomewhere(caller: Caller, scope: Scope): (cluster: string) => boolean {
  const rights = caller.rights.filter((right) => right.scopes.includes(scope));
  if (rights.length === 0) throw denied(caller, scope, scope);
  return (cluster) => rights.some((right) => allows(right, scope, cluster));
}

function allows(right: Right, scope: Scope, cluster: string): boolean {
  const isCovered = right.clusters.includes(cluster) || right.clusters.includes("*");
  return isCovered && right.scopes.includes(scope);
}

function denied(caller: Caller, what: string, scope: Scope): WalarcError {
  const { certificate, name } = caller;
  if (caller.isKnown) {
    return new WalarcError("denied", `"${name}" is not allowed to ${what}`, {
      hint:
        `add the scope "${scope}" and the cluster to the table of that token or certificate ` +
        "in the daemon's configuration",
    });
  }
  if (certificate === undefined) {
    const needed = caller.hint?.includes(CERTIFICATE_HINT) ? "a certificate or token" : "a token";
    return new WalarcError("denied", `${what} needs ${needed} that this server knows`, {
      status: 401,
      hint: caller.hint ?? TOKEN_HINT,
    });
  }
  if (certificate.problem !== undefined) {
    const why = `the certificate "${certificate.title}" is not accepted: ${certificate.problem}`;
    return new WalarcError("denied", why, {
      status: 401,
      hint: "it must be signed by server.tls.client_ca_file of the daemon, and be valid now",
    });
  }
  return new WalarcError("denied", `nobody knows the certificate "${certificate.title}"`, {
    hint: "add it to [[certificates]] in the daemon's configuration, by its CN or a DNS name",
  });
}

/**
 * All tokens of this text. Digests are compared, each in constant time and all of them always, so
 * the time taken tells nothing about how close a guess was.
 */
function findTokens(
  known: readonly { token: Token; digest: Buffer }[],
  presented: string | undefined,
): Token[] {
  const digest = tokenDigest(presented ?? "");
  const found = known.filter((candidate) => isSameDigest(candidate.digest, digest));
  return presented === undefined ? [] : found.map(({ token }) => token);
}

function presentedToken(request: IncomingMessage): string | undefined {
  const header = request.headers.authorization ?? "";
  const [, scheme, credentials] = /^(bearer|basic) +(\S+)$/i.exec(header) ?? [];
  if (scheme === undefined || credentials === undefined) return undefined;
  if (scheme.toLowerCase() === "bearer") return credentials;
  const pair = Buffer.from(credentials, "base64").toString("utf8");
  const colonAt = pair.indexOf(":");
  return colonAt === -1 || colonAt === pair.length - 1 ? undefined : pair.slice(colonAt + 1);
}

/**
 * A program on this host. Behind a proxy on this host everybody looks so; the headers that proxies
 * add tell, and then nobody does.
 */
function isLocalPeer(request: IncomingMessage): boolean {
  const isProxys = (name: string) =>
    name.startsWith("x-forwarded-") || ["forwarded", "x-real-ip", "via"].includes(name);
  if (Object.keys(request.headers).some(isProxys)) return false;
  const address = request.socket.remoteAddress ?? "";
  const ipv4 = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return address === "::1" || /^127(\.\d{1,3}){3}$/.test(ipv4);
}

/**
 * Whether the request was made for this host by its own name. A page from anywhere can have its own
 * name lead to 127.0.0.1 and then read what a browser there may read (DNS rebinding); that name is
 * what the browser sends.
 */
function isForThisHost({ headers }: IncomingMessage): boolean {
  const host = (headers.host ?? "").toLowerCase().replace(/:\d{1,5}$/, "");
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}
