/** Status of clusters. */
import type { FastifyInstance } from "fastify";
import type { ClusterStatus } from "../archive/status.ts";
import type { FailureCode } from "../errors.ts";
import { withDeadline } from "../lifecycle.ts";
import { goneSignal, tooSlow } from "./answer.ts";
import { requireRight, requireSomewhere } from "./auth.ts";
import { GET_CLUSTER, GET_CLUSTERS } from "./claims-api.ts";
import { failureOf } from "./problem.ts";
import type { RouteParts } from "./parts.ts";
import { requireClusterName } from "./url.ts";
import type { WalArchive } from "./wal-archive.ts";

/** A cluster that cannot tell its status at the moment. */
export interface ClusterTrouble {
  readonly cluster: string;
  readonly problem: { readonly code: FailureCode; readonly detail: string };
}

/** Answers about all clusters do not wait for one that hangs. */
const PATIENCE_MS = 2000;

export async function clusterRoutes(server: FastifyInstance, parts: RouteParts): Promise<void> {
  const { archive, access } = parts;

  server.get("/v1/clusters", { config: { api: GET_CLUSTERS } }, async (request, reply) => {
    const isVisible = requireSomewhere(access.callerOf(request.raw), "read");
    const signal = goneSignal(reply.raw);
    return { clusters: await statusOfAll(archive, { isVisible, signal }) };
  });

  const one = "/v1/clusters/:cluster";
  const config = { api: GET_CLUSTER };
  server.get<{ Params: { cluster: string } }>(one, { config }, async (request, reply) => {
    const cluster = requireClusterName(request.params.cluster);
    requireRight(access.callerOf(request.raw), "read", cluster);
    const { answerDeadlineMs: deadlineMs } = parts.limits;
    return withDeadline((signal) => archive.status(cluster, { signal }), {
      deadlineMs,
      signal: goneSignal(reply.raw),
      expired: () => tooSlow("the status", deadlineMs),
    });
  });
}

/** One entry per visible cluster, in order; also for those in trouble. */
export async function statusOfAll(
  archive: WalArchive,
  options: { isVisible: (cluster: string) => boolean; signal: AbortSignal },
): Promise<(ClusterStatus | ClusterTrouble)[]> {
  const visible = archive.clusters().filter(options.isVisible);
  return Promise.all(visible.map((cluster) => statusOrTrouble(archive, cluster, options)));
}

async function statusOrTrouble(
  archive: WalArchive,
  cluster: string,
  options: { signal: AbortSignal },
): Promise<ClusterStatus | ClusterTrouble> {
  try {
    return await withDeadline((signal) => archive.status(cluster, { signal }), {
      deadlineMs: PATIENCE_MS,
      signal: options.signal,
      expired: () => tooSlow("the status", PATIENCE_MS),
    });
  } catch (error) {
    options.signal.throwIfAborted();
    const { code, message } = failureOf(error);
    return { cluster, problem: { code, detail: message } };
  }
}
