/** What the TCP listener proves itself with, replaced while it serves. */
import { constants } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Server as TlsServer, TlsOptions, TLSSocket } from "node:tls";
import type { Logger } from "pino";
import { WalarcError } from "../errors.ts";
import { type ClientCertificate, clientCertificateOn } from "./client-certificate.ts";
import { type KeyPair, readKeyPair, type TlsFiles, traceOf } from "./key-pair.ts";

/** Longer than it takes to copy a certificate and then its key: until then nobody is alarmed. */
const ALARM_MS = 15_000;

export interface TlsStatus {
  readonly expiresAtMs: number;
  readonly clientCaExpiresAtMs: number | undefined;
  /** What is served is what the files hold. */
  readonly isCurrent: boolean;
}

/**
 * The certificate in use, and who is vouched for by the authority of clients. New files are taken
 * when they fit together; until then the old ones go on, so no handshake fails for a replacement
 * that is half done.
 */
export class TlsIdentity {
  readonly #log: Logger;
  #files: TlsFiles;
  #pair: KeyPair;
  /** What the files looked like when they were last read, and at the last look. */
  #readTrace: string;
  #lookTrace: string;
  #trouble: { readonly why: string; readonly sinceMs: number; isTold: boolean } | undefined;
  readonly #servers: TlsServer[] = [];
  readonly #shown = new WeakMap<object, { by: string; certificate: ClientCertificate }>();

  private constructor(files: TlsFiles, options: { log: Logger; pair: KeyPair; trace: string }) {
    this.#files = files;
    this.#log = options.log;
    this.#pair = options.pair;
    this.#readTrace = options.trace;
    this.#lookTrace = options.trace;
  }

  /**
   * Rejects with `usage` when the files are of no use. An expired certificate is: clients refuse
   * it, and the daemon's other listeners are none the worse.
   */
  static async open(files: TlsFiles, { log }: { log: Logger }): Promise<TlsIdentity> {
    const trace = await traceOf(files);
    const pair = await readKeyPair(files);
    const identity = new TlsIdentity(files, { log, pair, trace });
    if (isExpired(pair)) log.error(identity.#facts(), "TLS certificate has expired");
    return identity;
  }

  get status(): TlsStatus {
    const { expiresAtMs, clientCaExpiresAtMs } = this.#pair;
    return { expiresAtMs, clientCaExpiresAtMs, isCurrent: this.#trouble === undefined };
  }

  /** For a server that is to be made and then given to `attach`. */
  get options(): TlsOptions {
    return {
      ...this.#secrets(),
      requestCert: this.#files.clientCaFile !== undefined,
      // Who shows none, or one that nobody vouches for, may still have a token.
      rejectUnauthorized: false,
    };
  }

  /** From now on the server gets every new certificate. */
  attach(server: TlsServer): void {
    this.#servers.push(server);
    server.on("secureConnection", (socket: TLSSocket) => {
      if (this.#files.clientCaFile === undefined) return;
      const certificate = clientCertificateOn(socket);
      if (certificate === undefined) return;
      this.#shown.set(socket, { by: this.#pair.clientCaDigest, certificate });
    });
  }

  /**
   * What the sender of the request has shown. Of a connection that outlives the certificate, or
   * the authority that vouched for it, that is a problem.
   */
  shownBy({ socket }: IncomingMessage): ClientCertificate | undefined {
    const shown = this.#shown.get(socket);
    if (shown === undefined || shown.certificate.problem !== undefined) return shown?.certificate;
    const { by, certificate } = shown;
    if (by !== this.#pair.clientCaDigest) return { ...certificate, problem: "AUTHORITY_REPLACED" };
    if (certificate.expiresAtMs > Date.now()) return certificate;
    return { ...certificate, problem: "CERT_HAS_EXPIRED" };
  }

  /** A look at the files, to be repeated every few seconds. */
  async look(): Promise<void> {
    const trace = await traceOf(this.#files);
    const isQuiet = trace === this.#lookTrace;
    this.#lookTrace = trace;
    // What changes at this very moment is left alone until it has come to rest.
    if (isQuiet && trace !== this.#readTrace) await this.#take(trace);
    const trouble = this.#trouble;
    if (trouble !== undefined && performance.now() - trouble.sinceMs >= ALARM_MS) this.#alarm();
  }

  /** Takes what the files hold now, and says at once if it cannot be used. */
  async reload(files: TlsFiles): Promise<void> {
    this.#files = files;
    this.#lookTrace = await traceOf(files);
    await this.#take(this.#lookTrace);
    this.#alarm();
  }

  async #take(trace: string): Promise<void> {
    const files = this.#files;
    this.#readTrace = trace;
    try {
      const pair = await readKeyPair(files);
      if (isExpired(pair) && pair.digest !== this.#pair.digest) {
        const at = new Date(pair.expiresAtMs).toISOString();
        throw new WalarcError("usage", `"${files.certFile}" has expired, on ${at}`);
      }
      this.#trouble = undefined;
      if (pair.digest === this.#pair.digest) return;
      this.#pair = pair;
      for (const server of this.#servers) server.setSecureContext(this.#secrets());
      this.#log.info(this.#facts(), "TLS certificate replaced");
    } catch (error) {
      if (!(error instanceof WalarcError)) throw error;
      const { message: why } = error;
      const isNews = this.#trouble?.why !== why;
      if (isNews) this.#trouble = { why, sinceMs: performance.now(), isTold: false };
    }
  }

  #alarm(): void {
    if (this.#trouble === undefined || this.#trouble.isTold) return;
    this.#trouble.isTold = true;
    const { why } = this.#trouble;
    this.#log.error({ ...this.#facts(), why }, "TLS certificate not replaced, the old one is kept");
  }

  #facts(): { certFile: string; expiresAt: string } {
    const expiresAt = new Date(this.#pair.expiresAtMs).toISOString();
    return { certFile: this.#files.certFile, expiresAt };
  }

  #secrets(): TlsOptions {
    const { cert, key, clientCa } = this.#pair;
    return {
      cert,
      key,
      ...(clientCa === undefined ? {} : { ca: clientCa }),
      minVersion: "TLSv1.2",
      // Of a client that asks for handshake after handshake on one connection.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    };
  }
}

function isExpired({ expiresAtMs }: KeyPair): boolean {
  return expiresAtMs <= Date.now();
}
