/** Failures as answers and as log lines: each is told once, in one form. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { isClusterName } from "../archive/keys.ts";
import { type FailureCode, WalarcError } from "../errors.ts";
import { parseWalName } from "../wal/name.ts";
import { printable } from "./url.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** What the log calls a request of this route. */
    what?: "push" | "fetch";
    /** The client does it another way when this does not suit: a misfit is nothing to report. */
    isOffer?: true;
  }
}

export const PROBLEM_TYPE = "application/problem+json";

/** The client left before it had its answer. Nobody is there to be told; the log is. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";

  constructor(options?: ErrorOptions) {
    super("the client closed the connection", options);
  }
}

/** The failure in an error. What nobody foresaw is a `bug`, and tells the client nothing more. */
export function failureOf(error: unknown): WalarcError {
  if (error instanceof WalarcError) return error;
  const status = clientErrorStatus(error);
  if (status !== undefined) {
    return new WalarcError("usage", (error as Error).message, { status, cause: error });
  }
  return new WalarcError("bug", "something unexpected happened in the server", {
    hint: "its log has the details",
    cause: error,
  });
}

/** Fastify's own errors about requests that it cannot understand. */
function clientErrorStatus(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("statusCode" in error)) return undefined;
  const { code, statusCode } = error;
  const isFastify = typeof code === "string" && code.startsWith("FST_");
  const isClients = typeof statusCode === "number" && statusCode >= 400 && statusCode < 500;
  return isFastify && isClients ? statusCode : undefined;
}

/** RFC 9457, with the code that clients go by. */
export function problemBody(failure: WalarcError): string {
  const { status, code, message: detail, hint } = failure;
  return JSON.stringify({ status, code, detail, hint });
}

/** Logs the error and answers with it. */
export function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  logFailure(error, request, reply);
  const failure = failureOf(error);
  if (failure.status === 401) {
    reply.header("www-authenticate", ['Bearer realm="walarc"', 'Basic realm="walarc"']);
  }
  return sendProblem(reply, failure);
}

/** As bytes, because fastify would add a charset to the type of a text. */
export function sendProblem(reply: FastifyReply, failure: WalarcError): FastifyReply {
  const body = Buffer.from(problemBody(failure));
  return reply.code(failure.status).header("content-type", PROBLEM_TYPE).send(body);
}

/** One line for a request that did not succeed. */
export function logFailure(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const what = request.routeOptions.config.what ?? "request";
  const fields = { ...subjectOf(request), durationMs: Math.round(reply.elapsedTime) };
  if (error instanceof ClientGone) {
    request.log.warn(fields, `${what} aborted`);
    return;
  }
  const failure = failureOf(error);
  const { code, status } = failure;
  const line = {
    ...fields,
    code,
    status,
    detail: printable(failure.message, 300),
    ...causeOf(failure),
  };
  const level = isMisfit(error, request) ? "debug" : levelOf(code);
  request.log[level](line, status < 500 ? `${what} refused` : `${what} failed`);
}

/** Whether the request was an offer that does not suit this daemon or cluster. */
export function isMisfit(error: unknown, request: FastifyRequest): boolean {
  const { code } = failureOf(error);
  const isOffer = request.routeOptions.config.isOffer === true;
  return isOffer && (code === "usage" || code === "unknown-cluster");
}

/** What a person must look at is an error; what happens all day long is for the curious. */
function levelOf(code: FailureCode): "error" | "warn" | "debug" {
  if (code === "bug" || code === "corrupt") return "error";
  return code === "absent" ? "debug" : "warn";
}

function causeOf(failure: WalarcError): { err?: unknown } {
  return failure.cause === undefined ? {} : { err: failure.cause };
}

/** What the request was about: names only where they are names, else the beginning of its path. */
function subjectOf(request: FastifyRequest): object {
  const parameters = request.params as { cluster?: string; name?: string };
  const { cluster = "", name = "" } = parameters;
  const remote = request.raw.socket.remoteAddress;
  const isAboutWal = isClusterName(cluster) && parseWalName(name) !== undefined;
  const path = printable(request.originalUrl.split("?", 1)[0] ?? "");
  return {
    ...(isAboutWal ? { wal: name, cluster } : { method: request.method, path }),
    ...(remote === undefined ? {} : { remote }),
  };
}
