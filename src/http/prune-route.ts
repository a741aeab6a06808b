/** Pruning by request, and the plan for it. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { WalarcError } from "../errors.ts";
import { withDeadline } from "../lifecycle.ts";
import { holdersOf } from "../retention/overview.ts";
import type { Retention } from "../retention/retention.ts";
import {
  removableBytes,
  removableFiles,
  removableNames,
  type RetentionPlan,
} from "../wal/retention.ts";
import { segmentName } from "../wal/segment.ts";
import { goneSignal, sendBytes, tooSlow } from "./answer.ts";
import { requireRight } from "./auth.ts";
import { POST_PRUNE } from "./claims-api.ts";
import { readJson } from "./json-body.ts";
import type { RouteParts } from "./parts.ts";
import { passBodiesThrough } from "./request-body.ts";
import { requireClusterName } from "./url.ts";

interface PruneRoute {
  Params: { cluster: string };
}

interface Wish {
  readonly isDry: boolean;
  /** Whether every single name is wanted, beside the ranges. */
  readonly withNames: boolean;
}

const CHUNK_CHARACTERS = 64 * 1024;

export async function pruneRoute(server: FastifyInstance, parts: RouteParts): Promise<void> {
  passBodiesThrough(server);
  const config = { api: POST_PRUNE };
  server.post<PruneRoute>("/v1/clusters/:cluster/prune", { config }, (request, reply) =>
    answerPrune(parts, request, reply),
  );
}

async function answerPrune(
  parts: RouteParts,
  request: FastifyRequest<PruneRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { archive, access, limits } = parts;
  const cluster = requireClusterName(request.params.cluster);
  requireRight(access.callerOf(request.raw), "admin", cluster);
  const gone = goneSignal(reply.raw);
  const wish = await readWish(parts, request, reply, gone);
  const retention = await archive.retention(cluster, { signal: gone });
  const plan = wish.isDry ? await planOf(retention, parts, gone) : await prune(retention, gone);
  reply.header("content-type", "application/json; charset=utf-8");
  const { stallMs, fetchDeadlineMs: deadlineMs } = limits;
  // What was removed cannot be removed any more.
  const explanation = retention.explain(wish.isDry ? plan : { ...plan, segments: [], others: [] });
  await sendBytes(reply, answerOf(plan, wish, explanation), { stallMs, deadlineMs });
  return reply;
}

async function readWish(
  { limits: { stallMs } }: RouteParts,
  request: FastifyRequest<PruneRoute>,
  reply: FastifyReply,
  signal: AbortSignal,
): Promise<Wish> {
  const allowed = ["dryRun", "names"];
  const fields = await readJson(request, reply, { allowed, stallMs, signal });
  const { dryRun = false, names = true } = fields;
  if (typeof dryRun !== "boolean" || typeof names !== "boolean") {
    throw new WalarcError("usage", '"dryRun" and "names" are true or false');
  }
  return { isDry: dryRun, withNames: names };
}

async function planOf(
  retention: Retention,
  { limits }: RouteParts,
  gone: AbortSignal,
): Promise<RetentionPlan> {
  const { answerDeadlineMs: deadlineMs } = limits;
  return withDeadline((signal) => retention.plan({ signal }), {
    deadlineMs,
    signal: gone,
    expired: () => tooSlow("the plan", deadlineMs),
  });
}

/** Without a deadline: it may have much to do. Who stops waiting stops it, and nothing is lost. */
async function prune(retention: Retention, signal: AbortSignal): Promise<RetentionPlan> {
  return retention.prune({ signal });
}

/** The answer in pieces: a million names never stand in memory. */
async function* answerOf(
  plan: RetentionPlan,
  { isDry, withNames }: Wish,
  explanation: string,
): AsyncGenerator<Buffer, void, void> {
  const head = {
    dryRun: isDry,
    ...holdersOf(plan),
    explanation,
    removeFiles: removableFiles(plan),
    removeBytes: removableBytes(plan),
    ranges: rangesOf(plan),
  };
  let text = JSON.stringify(head).slice(0, -1);
  if (withNames) {
    text += ',"remove":[';
    let separator = "";
    for (const name of removableNames(plan)) {
      text += `${separator}"${name.text}"`;
      separator = ",";
      if (text.length < CHUNK_CHARACTERS) continue;
      yield Buffer.from(text);
      text = "";
    }
    text += "]";
  }
  yield Buffer.from(`${text}}\n`);
}

function rangesOf({ segments, segmentSizeBytes = 0 }: RetentionPlan): object[] {
  return segments.map(({ timeline, first, last }) => ({
    first: segmentName(timeline, first, segmentSizeBytes),
    last: segmentName(timeline, last, segmentSizeBytes),
    segments: last - first + 1,
  }));
}
