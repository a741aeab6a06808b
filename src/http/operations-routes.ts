/** For monitoring, and for people with a browser. */
import type { FastifyInstance } from "fastify";
import { reasonsFor } from "../archive/readiness.ts";
import { goneSignal } from "./answer.ts";
import { jsonBody, type Operation } from "./api.ts";
import { HEALTH, READY } from "./api-schemas.ts";
import { type Caller, requireSomewhere } from "./auth.ts";
import { statusOfAll } from "./cluster-routes.ts";
import { sendProblem } from "./problem.ts";
import type { RouteParts } from "./parts.ts";
import { STATUS_PAGE_POLICY, statusPage } from "./status-page.ts";
import { WalarcError } from "../errors.ts";

const HEALTHZ: Operation = {
  summary: "whether the process answers",
  answers: { 200: { description: "it does", body: jsonBody(HEALTH) } },
};

const READYZ: Operation = {
  summary: "whether a push could be stored now",
  answers: { 200: { description: "it could", body: jsonBody(READY) } },
  failures: ["store-failed"],
};

const METRICS: Operation = {
  summary: "metrics for Prometheus, of the clusters that the caller may read",
  scope: "read",
  answers: { 200: { description: "the exposition", body: { type: "text/plain" } } },
};

const STATUS_PAGE: Operation = {
  summary: "the status as a page for people",
  scope: "read",
  answers: { 200: { description: "the page", body: { type: "text/html" } } },
};

export async function operationsRoutes(server: FastifyInstance, parts: RouteParts): Promise<void> {
  const { archive, access, metrics, readiness } = parts;

  // The process answers. Nothing else is asked, so that no sick store gets it restarted.
  server.get("/healthz", { config: { api: HEALTHZ } }, async () => ({ status: "ok" }));

  // Not logged: a probe asks every few seconds, and who turned red has said so. Why it is red may
  // name clusters and paths, so that is for readers.
  server.get("/readyz", { config: { api: READYZ } }, async (request, reply) => {
    const now = readiness();
    if (now.ready) return { ready: true };
    const caller = access.callerOf(request.raw);
    const why = mayRead(caller)
      ? `: ${reasonsFor(now, requireSomewhere(caller, "read")).join("; ")}`
      : "";
    return sendProblem(reply, new WalarcError("store-failed", `not ready${why}`));
  });

  server.get("/metrics", { config: { api: METRICS } }, async (request, reply) => {
    const isVisible = requireSomewhere(access.callerOf(request.raw), "read");
    const page = await metrics.exposition();
    return reply.type(metrics.contentType).send(onlyVisible(page, isVisible));
  });

  server.get("/", { config: { api: STATUS_PAGE } }, async (request, reply) => {
    const isVisible = requireSomewhere(access.callerOf(request.raw), "read");
    const clusters = await statusOfAll(archive, { isVisible, signal: goneSignal(reply.raw) });
    return reply
      .type("text/html; charset=utf-8")
      .header("content-security-policy", STATUS_PAGE_POLICY)
      .header("referrer-policy", "no-referrer")
      .send(statusPage({ clusters, reasons: reasonsFor(readiness(), isVisible) }));
  });
}

function mayRead(caller: Caller): boolean {
  return caller.rights.some(({ scopes }) => scopes.includes("read"));
}

/** Without the lines about clusters that the caller may not see. Cluster names need no escapes. */
function onlyVisible(page: string, isVisible: (cluster: string) => boolean): string {
  const lines = page.split("\n").filter((line) => {
    const cluster = /^[a-z_]+\{(?:[^"]*"[^"]*",)*?cluster="([^"]*)"/.exec(line)?.[1];
    return cluster === undefined || isVisible(cluster);
  });
  return lines.join("\n");
}
