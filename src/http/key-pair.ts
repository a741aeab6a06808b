/** A certificate with its key, and the authority of client certificates, as they stand in files. */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { constants, open, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { WalarcError } from "../errors.ts";

export interface TlsFiles {
  /** PEM: the server's certificate, then the chain that leads to its authority. */
  readonly certFile: string;
  /** PEM, not encrypted. */
  readonly keyFile: string;
  /** PEM: the authorities of client certificates. */
  readonly clientCaFile: string | undefined;
}

/** What the files held when they fitted together. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
  /** Of the whole content: equal when nothing has changed. */
  readonly digest: string;
  /** Of the content that vouches for clients. */
  readonly clientCaDigest: string;
  /** Since 1970: when the first certificate of the server's chain expires. */
  readonly expiresAtMs: number;
  /** When the first authority of clients expires. */
  readonly clientCaExpiresAtMs: number | undefined;
}

const FILE_BYTES_MAX = 1024 * 1024;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * What the files hold. Rejects with `usage` when one cannot be read, is cut short or lets others
 * read the key, and when certificate and key do not belong together. Of an expired certificate
 * nothing is said: the caller looks at its time.
 */
export async function readKeyPair(files: TlsFiles): Promise<KeyPair> {
  const { certFile, keyFile, clientCaFile } = files;
  const cert = await readText(certFile);
  const chain = certificatesIn(cert, certFile);
  const key = await readText(keyFile, requirePrivate);
  requireMatch(chain[0] as X509Certificate, key, files);
  const clientCa = clientCaFile === undefined ? undefined : await readText(clientCaFile);
  const authorities =
    clientCa === undefined ? [] : certificatesIn(clientCa, clientCaFile as string);
  requireUsable({ cert, key, ca: clientCa }, certFile);
  return {
    cert,
    key,
    clientCa,
    digest: digestOf([cert, key, clientCa ?? ""]),
    clientCaDigest: digestOf([clientCa ?? ""]),
    expiresAtMs: firstExpiry(chain),
    clientCaExpiresAtMs: clientCa === undefined ? undefined : firstExpiry(authorities),
  };
}

/**
 * Changes whenever one of the files is written or another one takes its name, also behind a link.
 */
export async function traceOf({ certFile, keyFile, clientCaFile }: TlsFiles): Promise<string> {
  const paths = [certFile, keyFile, ...(clientCaFile === undefined ? [] : [clientCaFile])];
  const traces = paths.map(async (path) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found === undefined) return `${path} -`;
    return [path, found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(" ");
  });
  return (await Promise.all(traces)).join("\n");
}

interface Owned {
  readonly mode: number;
  readonly uid: number;
}

async function readText(
  path: string,
  check: (path: string, found: Owned) => void = () => {},
): Promise<string> {
  try {
    // Of a pipe that nobody writes to, opening would never end.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await file.stat();
    if (!found.isFile()) throw new WalarcError("usage", `"${path}" is not a file`);
    if (found.size > FILE_BYTES_MAX) throw new WalarcError("usage", `"${path}" is no PEM file`);
    check(path, found);
    return await file.readFile("utf8");
  } catch (error) {
    if (error instanceof WalarcError) throw error;
    const why = READ_ERRORS[(error as NodeJS.ErrnoException).code ?? ""] ?? String(error);
    throw new WalarcError("usage", `cannot read "${path}": ${why}`, { cause: error });
  }
}

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EACCES: "permission denied",
};

/**
 * As PostgreSQL does with `ssl_key_file`: nobody but the owner may read it, or, when it belongs to
 * root, a group as well.
 */
function requirePrivate(path: string, { mode, uid }: Owned): void {
  if ((mode & (uid === 0 ? 0o027 : 0o077)) === 0) return;
  const text = (mode & 0o777).toString(8).padStart(4, "0");
  throw new WalarcError("usage", `the key "${path}" (mode ${text}) is not the daemon's alone`, {
    hint: `chmod 0600 ${path}; if it belongs to root, 0640 and the group of the daemon will do`,
  });
}

/** All of them; a file that is just being written ends in the middle of one. */
function certificatesIn(text: string, path: string): X509Certificate[] {
  const blocks = text.match(PEM_CERTIFICATE) ?? [];
  const begun = text.split("-----BEGIN CERTIFICATE-----").length - 1;
  if (blocks.length === 0) {
    throw new WalarcError("usage", `"${path}" holds no certificate in PEM form`);
  }
  if (blocks.length < begun) throw new WalarcError("usage", `"${path}" is cut short`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new WalarcError("usage", `"${path}" holds a certificate that cannot be read`, {
      cause: error,
    });
  }
}

function requireMatch(certificate: X509Certificate, key: string, files: TlsFiles): void {
  const { certFile, keyFile } = files;
  let isMatch;
  try {
    isMatch = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    const isEncrypted = (error as NodeJS.ErrnoException).code === "ERR_MISSING_PASSPHRASE";
    const why = isEncrypted ? "is encrypted" : "holds no private key in PEM form";
    throw new WalarcError("usage", `"${keyFile}" ${why}`, {
      ...(isEncrypted ? { hint: "nobody is there to give a passphrase when walarc starts" } : {}),
      cause: error,
    });
  }
  if (isMatch) return;
  throw new WalarcError("usage", `"${keyFile}" is not the key of "${certFile}"`, {
    hint: "the server's own certificate must come first in its file, before those of authorities",
  });
}

/** What OpenSSL objects to, such as a key that is too short. */
function requireUsable(
  terms: { cert: string; key: string; ca: string | undefined },
  certFile: string,
): void {
  const { cert, key, ca } = terms;
  try {
    createSecureContext({ cert, key, ...(ca === undefined ? {} : { ca }) });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("usage", `"${certFile}" cannot be used: ${why}`, { cause: error });
  }
}

function firstExpiry(certificates: readonly X509Certificate[]): number {
  return Math.min(...certificates.map(({ validTo }) => Date.parse(validTo)));
}

function digestOf(texts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(texts)).digest("hex");
}
