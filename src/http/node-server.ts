/** Node's own server under a listener: what it bounds before anything of ours is asked. */
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Limits } from "./parts.ts";
import type { TlsIdentity } from "./tls-identity.ts";

export const HEAD_BYTES_MAX = 16 * 1024;

/** Listens to nothing yet. */
export function createNodeServer(
  handler: RequestListener,
  { limits, tls }: { limits: Limits; tls: TlsIdentity | undefined },
): Server {
  const { headDeadlineMs, pushDeadlineMs } = limits;
  const options = {
    maxHeaderSize: HEAD_BYTES_MAX,
    headersTimeout: headDeadlineMs,
    // The push's own deadline comes first and explains itself.
    requestTimeout: Math.max(pushDeadlineMs, headDeadlineMs) + 5000,
    keepAliveTimeout: 65_000,
    connectionsCheckingInterval: 1000,
    // Node would refuse with a bare 400; we do it with a reason.
    requireHostHeader: false,
  };
  const server = tls === undefined ? createServer(options, handler) : listenWith(tls);
  // With a listener of our own Node sends no "100 Continue" by itself.
  server.on("checkContinue", handler);
  // Nor, with this one, a bare 417 for an expectation that it does not know.
  server.on("checkExpectation", handler);
  return server;

  function listenWith(identity: TlsIdentity): Server {
    const terms = { ...identity.options, handshakeTimeout: headDeadlineMs };
    const encrypted = createTlsServer({ ...options, ...terms }, handler);
    identity.attach(encrypted);
    return encrypted;
  }
}
