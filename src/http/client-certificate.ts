/** What a client has shown of itself in the TLS handshake. */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { printable } from "./url.ts";

export interface ClientCertificate {
  /** For messages: its CN, or the first of its DNS names. */
  readonly title: string;
  /** As it stands there; `undefined` when there is none, or more than one. */
  readonly commonName: string | undefined;
  /** Lower case. */
  readonly dnsNames: readonly string[];
  /** Since 1970. */
  readonly expiresAtMs: number;
  /** Why nobody vouches for it, as OpenSSL calls it; `undefined` when all is well. */
  readonly problem: string | undefined;
}

/** The certificate shown on a connection, if any. */
export function clientCertificateOn(socket: TLSSocket): ClientCertificate | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const commonName = commonNameOf(certificate);
  const dnsNames = dnsNamesIn(certificate.subjectAltName ?? "");
  return {
    title: printable(commonName ?? dnsNames[0] ?? "without a name"),
    commonName,
    dnsNames,
    expiresAtMs: Date.parse(certificate.validTo),
    problem: socket.authorized ? undefined : String(socket.authorizationError),
  };
}

/** PostgreSQL takes the CN for a client's name (`clientcert`), so it comes first here, too. */
function commonNameOf(certificate: X509Certificate): string | undefined {
  // The types know only one CN; of several, Node makes a list.
  const name: unknown = certificate.toLegacyObject().subject?.CN;
  return typeof name === "string" ? name : undefined;
}

/**
 * Node separates the names with commas and puts in quotes what could be mistaken for more than one
 * of them; no name of a host needs quotes.
 */
export function dnsNamesIn(subjectAltName: string): string[] {
  const plain = subjectAltName.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  return plain
    .split(", ")
    .filter((name) => name.startsWith("DNS:"))
    .map((name) => name.slice("DNS:".length).toLowerCase())
    .filter((name) => !name.includes('"'));
}
