/** The HTTP server of one listener: limits, failures and its end. Routes know nothing of that. */
import { randomBytes } from "node:crypto";
import type { Server } from "node:http";
import { Readable } from "node:stream";
import { type FastifyInstance, type FastifyRequest, fastify, LogController } from "fastify";
import { WalarcError } from "../errors.ts";
import { serveApi } from "./api.ts";
import type { Access } from "./auth.ts";
import { Bodies } from "./bodies.ts";
import { claimRoutes } from "./claim-routes.ts";
import { clusterRoutes } from "./cluster-routes.ts";
import { Connections } from "./connections.ts";
import { operationsRoutes } from "./operations-routes.ts";
import { listingRoute } from "./listing-route.ts";
import { createNodeServer, HEAD_BYTES_MAX } from "./node-server.ts";
import { DEFAULT_LIMITS, type Limits, type RouteParts, type ServerParts } from "./parts.ts";
import { refuse } from "./problem.ts";
import { pruneRoute } from "./prune-route.ts";
import { drain, hasUnreadBody } from "./request-body.ts";
import { endUnreadable } from "./unreadable.ts";
import { fitsTemplate, literalTarget, quoted } from "./url.ts";
import { walRoutes } from "./wal-routes.ts";

/** Listens to nothing yet: see listen.ts. Disposing it stops it gracefully. */
export interface HttpServer extends AsyncDisposable {
  readonly server: Server;
}

const HEADERS_MAX = 100;

export async function createServer(parts: ServerParts): Promise<HttpServer> {
  const limits = { ...DEFAULT_LIMITS, ...parts.limits };
  const instance = createInstance(parts, limits);
  const connections = new Connections(instance.server, { max: limits.connectionsMax });
  // The access rules see every request first, so this is where connections earn their place.
  const access: Access = {
    callerOf: (request) => {
      const caller = parts.access.callerOf(request);
      if (caller.isKnown) connections.admit(request, caller);
      return caller;
    },
  };

  checkHeads(instance);
  endUnreadBodies(instance, { access: parts.access, connections });
  answerUnknownTargets(instance);
  instance.setErrorHandler((error, request, reply) => refuse(error, request, reply));

  const { archive, readiness, metrics, listener } = parts;
  const { bodies = new Bodies() } = parts;
  const routeParts: RouteParts = { archive, readiness, metrics, listener, access, limits, bodies };
  serveApi(instance, routeParts);
  await instance.register(walRoutes, routeParts);
  await instance.register(listingRoute, routeParts);
  await instance.register(clusterRoutes, routeParts);
  await instance.register(claimRoutes, routeParts);
  await instance.register(pruneRoute, routeParts);
  await instance.register(operationsRoutes, routeParts);
  await instance.ready();

  return {
    server: instance.server,
    [Symbol.asyncDispose]: async () => {
      await connections.end({ graceMs: parts.shutdownGraceMs });
      await instance.close();
    },
  };
}

function createInstance(parts: ServerParts, limits: Limits): FastifyInstance {
  return fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true }),
    // Unlike a count, one of its own across listeners and restarts.
    genReqId: () => randomBytes(6).toString("base64url"),
    rewriteUrl: literalTarget,
    return503OnClosing: false,
    routerOptions: { maxParamLength: HEAD_BYTES_MAX },
    clientErrorHandler: (error, socket) => endUnreadable(error, socket, parts.log),
    // From the logger itself, which has the level of this moment.
    childLoggerFactory: (_logger, bindings, options) => parts.log.child(bindings, options),
    serverFactory: (handler) => createNodeServer(handler, { limits, tls: parts.tls }),
  }) as unknown as FastifyInstance;
}

/** Refuses heads that could be read in two ways. Node has refused the worst of them already. */
function checkHeads(instance: FastifyInstance): void {
  instance.addHook("onRequest", async ({ raw }) => {
    if (raw.rawHeaders.length / 2 > HEADERS_MAX) {
      throw new WalarcError("usage", `more than ${HEADERS_MAX} headers`, { status: 431 });
    }
    const { host, expect } = raw.headers;
    // RFC 9112, 3.2; clients of HTTP/1.0 need not send it.
    if (host === undefined && raw.httpVersion === "1.1") {
      throw new WalarcError("usage", 'there is no header "host"');
    }
    if (expect !== undefined && expect.toLowerCase() !== "100-continue") {
      throw new WalarcError("usage", `expectation ${quoted(expect)} cannot be met`, {
        status: 417,
      });
    }
    // Node takes the first one, others in front of it perhaps the last (RFC 9112, 3.2).
    for (const name of ["host", "authorization"]) {
      if ((raw.headersDistinct[name]?.length ?? 0) < 2) continue;
      throw new WalarcError("usage", `more than one header "${name}"`);
    }
    // Only browsers send it, and no page has business here: not even one that may ask.
    if (raw.headers.origin !== undefined && raw.method !== "GET" && raw.method !== "HEAD") {
      throw new WalarcError("denied", `no web page may ${raw.method} here`);
    }
    const encoding = raw.headers["transfer-encoding"];
    if (encoding !== undefined && encoding.toLowerCase() !== "chunked") {
      throw new WalarcError("usage", `transfer encoding ${quoted(encoding)} is not supported`, {
        hint: 'send a content length, or "chunked"',
      });
    }
  });
}

/** What a refused body may still cost: enough that a simple client reads the answer. */
const DRAIN_KNOWN = { bytesMax: 64 * 1024 * 1024, timeMs: 2000 };
const DRAIN_STRANGER = { bytesMax: 1024 * 1024, timeMs: 1000 };

/**
 * An answer that comes before the end of the request's body goes out at once and whole, and is the
 * connection's last. Then a bounded part of the body is read and thrown away.
 */
function endUnreadBodies(
  instance: FastifyInstance,
  options: { access: Access; connections: Connections },
): void {
  instance.addHook("onSend", async ({ raw }, reply, payload) => {
    reply.header("cache-control", "no-store, no-transform");
    reply.header("x-content-type-options", "nosniff");
    const isUnread = hasUnreadBody(raw);
    if (isUnread || options.connections.isStopping) reply.header("connection", "close");
    if (!isUnread || !(typeof payload === "string" || Buffer.isBuffer(payload))) return payload;

    const { isKnown } = options.access.callerOf(raw);
    const bytes = Buffer.from(payload);
    reply.header("content-length", bytes.length);
    return Readable.from(
      (async function* () {
        yield bytes;
        await drain(raw, isKnown ? DRAIN_KNOWN : DRAIN_STRANGER);
      })(),
      { objectMode: false },
    );
  });
}

/** Never `absent`: only a look into the archive may say that. */
function answerUnknownTargets(instance: FastifyInstance): void {
  const methods = new Map<string, Set<string>>();
  instance.addHook("onRoute", ({ url, method }) => {
    const known = methods.get(url) ?? new Set();
    for (const name of [method].flat()) known.add(name);
    methods.set(url, known);
  });
  instance.setNotFoundHandler((request, reply) => {
    const path = pathOf(request);
    for (const [template, known] of methods) {
      if (!fitsTemplate(path, template)) continue;
      reply.header("allow", [...known].join(", "));
      const message = `${request.method} is not possible here`;
      throw new WalarcError("usage", message, { status: 405 });
    }
    throw new WalarcError("usage", `there is nothing at ${quoted(path)}`, {
      status: 404,
      hint: "paths begin with /v1/clusters",
    });
  });
}

function pathOf(request: FastifyRequest): string {
  return request.originalUrl.split("?", 1)[0] ?? "";
}
