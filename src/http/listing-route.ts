/** Pages of archived WAL files. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { PAGE_FILES_MAX } from "../archive/listing.ts";
import { WalarcError } from "../errors.ts";
import { withDeadline } from "../lifecycle.ts";
import { parseWalName } from "../wal/name.ts";
import { goneSignal, tooSlow } from "./answer.ts";
import { requireRight } from "./auth.ts";
import type { RouteParts } from "./parts.ts";
import { quoted, requireClusterName } from "./url.ts";
import { LIST_WAL } from "./wal-api.ts";

interface PageRoute {
  Params: { cluster: string };
  Querystring: Record<string, unknown>;
}

export async function listingRoute(server: FastifyInstance, parts: RouteParts): Promise<void> {
  server.get<PageRoute>(
    "/v1/clusters/:cluster/wal",
    { config: { api: LIST_WAL } },
    (request, reply) => answerPage(parts, request, reply),
  );
}

async function answerPage(
  { archive, access, limits }: RouteParts,
  request: FastifyRequest<PageRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const cluster = requireClusterName(request.params.cluster);
  const page = readPage(request.query);
  requireRight(access.callerOf(request.raw), "read", cluster);
  const { answerDeadlineMs: deadlineMs } = limits;
  const answer = await withDeadline((signal) => archive.page(cluster, { ...page, signal }), {
    deadlineMs,
    signal: goneSignal(reply.raw),
    expired: () => tooSlow("the listing", deadlineMs),
  });
  return reply.send(answer);
}

/** Throws `usage`. */
function readPage(query: Record<string, unknown>): { after?: string; limit: number } {
  const { after, limit = String(PAGE_FILES_MAX), ...unknown } = query;
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined) {
    throw new WalarcError("usage", `there is no parameter ${quoted(stranger)}`, {
      hint: 'a listing takes "after" and "limit"',
    });
  }
  const files = typeof limit === "string" && /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  if (files < 1 || files > PAGE_FILES_MAX) {
    throw new WalarcError("usage", `"limit" is not a number from 1 to ${PAGE_FILES_MAX}`);
  }
  if (after === undefined) return { limit: files };
  if (typeof after !== "string" || parseWalName(after) === undefined) {
    throw new WalarcError("usage", '"after" is not the name of a WAL file');
  }
  return { after, limit: files };
}
