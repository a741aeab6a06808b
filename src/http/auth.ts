/** Who may do what: decided from the head of a request, before any of its body. */
import type { IncomingMessage } from "node:http";
import { WalarcError } from "../errors.ts";
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

/** A right: these scopes on these clusters. */
type Right = Pick<Token, "clusters" | "scopes">;

export interface Caller {
  /** The token's name; `undefined` for somebody unknown, or where everybody may do everything. */
  readonly name: string | undefined;
  /** Known by a token, or trusted because of the listener. */
  readonly isKnown: boolean;
  readonly rights: readonly Right[];
}

/** The rules of one listener. */
export interface Access {
  callerOf(request: IncomingMessage): Caller;
}

const EVERYTHING: Right = { clusters: ["*"], scopes: ["push", "fetch", "report", "read", "admin"] };
const READING: Right = { clusters: ["*"], scopes: ["read"] };

/** For the unix socket, whose file mode has decided already, and for `auth = "none"`. */
export function openAccess(): Access {
  const everybody: Caller = { name: undefined, isKnown: true, rights: [EVERYTHING] };
  return { callerOf: () => everybody };
}

/**
 * Tokens as Bearer or as the password of Basic. With `loopbackRead` what the `read` scope covers is
 * open to programs on this host.
 */
export function tokenAccess(
  tokens: readonly Token[],
  options: { loopbackRead: "open" | "closed" },
): Access {
  const known = tokens.map((token) => ({ token, digest: Buffer.from(token.sha256, "hex") }));
  for (const { token, digest } of known) {
    if (digest.length !== 32) throw new Error(`token "${token.name}" has no sha256`);
  }
  return {
    callerOf(request) {
      const found = findTokens(known, presentedToken(request));
      const isOpen = options.loopbackRead === "open" && isLocalPeer(request);
      return {
        name: found[0]?.name,
        isKnown: found.length > 0,
        rights: isOpen ? [...found, READING] : found,
      };
    },
  };
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
  if (caller.isKnown) {
    return new WalarcError("denied", `token "${caller.name}" does not allow ${what}`, {
      hint: `add the scope "${scope}" and the cluster to the token's table in the configuration`,
    });
  }
  return new WalarcError("denied", `${what} needs a token that this server knows`, {
    status: 401,
    hint: 'give --token-file FILE, or send "Authorization: Bearer TOKEN"; see "walarc token"',
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
  const { headers } = request;
  if (["forwarded", "x-forwarded-for", "x-real-ip", "via"].some((name) => name in headers)) {
    return false;
  }
  const address = request.socket.remoteAddress ?? "";
  const ipv4 = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return address === "::1" || /^127(\.\d{1,3}){3}$/.test(ipv4);
}
