/** Push and fetch of WAL files. A route translates; decisions are made in the archive. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { PushResult } from "../archive/push.ts";
import { WalarcError } from "../errors.ts";
import { withDeadline } from "../lifecycle.ts";
import { SentFrame } from "../object/sent-frame.ts";
import type { VerifiedObject } from "../object/verify.ts";
import type { FetchOutcomeLabel, PushOutcomeLabel } from "../telemetry/metrics.ts";
import { goneSignal, sendBytes, tooSlow } from "./answer.ts";
import { type Caller, requireRight } from "./auth.ts";
import { failureOf, isMisfit, logFailure } from "./problem.ts";
import { passBodiesThrough, RequestBody, tooLong } from "./request-body.ts";
import type { RouteParts } from "./parts.ts";
import { GET_WAL, POST_WAL, PUT_WAL } from "./wal-api.ts";
import { requireClusterName, requireWalTarget, type WalTarget } from "./url.ts";
import {
  acceptsZstd,
  readFileIdentity,
  readPushHeaders,
  readSystemIdentifier,
} from "./wal-headers.ts";

interface WalRoute {
  Params: { cluster: string; name: string };
}

const WAL = "/v1/clusters/:cluster/wal/:name";
const FRAME_SHA256 = "walarc-frame-sha256";

export async function walRoutes(server: FastifyInstance, parts: RouteParts): Promise<void> {
  passBodiesThrough(server);

  server.put<WalRoute>(WAL, { config: { what: "push", api: PUT_WAL } }, (request, reply) =>
    answerPush(parts, request, reply, pushBody),
  );
  if (parts.listener === "socket") {
    const config = { what: "push", isOffer: true, api: POST_WAL } as const;
    server.post<WalRoute>(WAL, { config }, (request, reply) =>
      answerPush(parts, request, reply, pushLocal),
    );
  }
  server.head<WalRoute>(WAL, { config: { what: "fetch", api: GET_WAL } }, (request, reply) =>
    answerHead(parts, request, reply),
  );
  server.get<WalRoute>(WAL, { config: { what: "fetch", api: GET_WAL } }, (request, reply) =>
    answerFetch(parts, request, reply),
  );
}

async function answerPush(
  parts: RouteParts,
  request: FastifyRequest<WalRoute>,
  reply: FastifyReply,
  push: typeof pushBody,
): Promise<FastifyReply> {
  const cluster = requireClusterName(request.params.cluster);
  let result: BodyResult;
  try {
    const target = requireWalTarget(request.params);
    const caller = requireRight(parts.access.callerOf(request.raw), "push", cluster);
    result = await push(parts, target, request, reply);
    logPush(result, { target, caller, request, reply });
  } catch (error) {
    // Of a file that is now sent instead, that push is the one to count.
    if (!isMisfit(error, request)) countPush(parts, cluster, pushLabelOf(error));
    throw error;
  }
  const { outcome, sha256, sizeBytes, storedBytes, frameSha256 } = result;
  countPush(parts, cluster, labelOf(outcome));
  parts.metrics.storedBytes.inc({ cluster }, storedBytes);
  parts.metrics.pushSeconds.observe({ cluster }, reply.elapsedTime / 1000);
  return reply
    .code(outcome === "archived" ? 201 : 200)
    .headers({ "walarc-sha256": sha256, ...(frameSha256 && { [FRAME_SHA256]: frameSha256 }) })
    .send({ outcome, name: request.params.name, sha256, sizeBytes });
}

function logPush(
  { outcome, sizeBytes, isAhead }: PushResult,
  context: {
    target: WalTarget;
    caller: Caller;
    request: FastifyRequest<WalRoute>;
    reply: FastifyReply;
  },
): void {
  const { target, caller, request, reply } = context;
  const durationMs = Math.round(reply.elapsedTime);
  const subject = { wal: target.name.text, cluster: target.cluster };
  const line = { ...subject, outcome, sizeBytes, isAhead, durationMs, caller: caller.name };
  // A second content deserves a look, although nothing waits for it.
  request.log[outcome === "kept-aside" ? "warn" : "info"](line, "pushed");
}

interface BodyResult extends PushResult {
  /** Digest of the frame that came, where one came: it has the content that is archived. */
  readonly frameSha256?: string | undefined;
}

async function pushBody(
  { archive, metrics, limits, bodies }: RouteParts,
  { cluster, name }: WalTarget,
  { raw }: FastifyRequest<WalRoute>,
  reply: FastifyReply,
): Promise<BodyResult> {
  const headers = readPushHeaders(raw);
  if ((headers.bodyBytes ?? 0) > limits.bodyBytesMax) throw tooLong();

  const { pushDeadlineMs: deadlineMs, bodyBytesMax: bytesMax, stallMs } = limits;
  using body = new RequestBody(raw, reply.raw, { bytesMax, stallMs });
  using _underWay = bodies.enter(body, cluster);
  try {
    return await withDeadline(
      async (signal): Promise<BodyResult> => {
        const chunks = body.chunks(signal);
        const { encoding, bodyBytes, sha256, systemIdentifier } = headers;
        const options = { sha256, systemIdentifier, signal };
        if (encoding !== "zstd") {
          return archive.push(cluster, name, chunks, { ...options, sizeBytes: bodyBytes });
        }
        const sent = new SentFrame(chunks, { plainBytesMax: bytesMax, frameBytes: bodyBytes });
        const result = await archive.push(cluster, name, sent.plain(), { ...options, sent });
        return { ...result, frameSha256: sent.sha256 };
      },
      {
        deadlineMs,
        signal: goneSignal(reply.raw),
        expired: () => (body.isAwaited ? tooSlowBody(deadlineMs) : tooSlow("the push", deadlineMs)),
      },
    );
  } finally {
    if (isServed(archive, cluster)) metrics.receivedBytes.inc({ cluster }, body.receivedBytes);
  }
}

/** The caller names a WAL file, never a path, and proves which file it means. */
async function pushLocal(
  { archive, limits }: RouteParts,
  { cluster, name }: WalTarget,
  { raw }: FastifyRequest<WalRoute>,
  reply: FastifyReply,
): Promise<PushResult> {
  const identity = readFileIdentity(raw);
  const systemIdentifier = readSystemIdentifier(raw);
  const { pushDeadlineMs: deadlineMs } = limits;
  return await withDeadline(
    (signal) => archive.pushLocal(cluster, name, { identity, systemIdentifier, signal }),
    { deadlineMs, signal: goneSignal(reply.raw), expired: () => tooSlow("the push", deadlineMs) },
  );
}

function tooSlowBody(deadlineMs: number): WalarcError {
  const seconds = Math.round(deadlineMs / 1000);
  return new WalarcError("unreachable", `the body did not arrive within ${seconds} s`, {
    status: 408,
    hint: "look at the network between the client and this server",
  });
}

async function answerHead(
  parts: RouteParts,
  request: FastifyRequest<WalRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const target = requireWalTarget(request.params);
  requireRight(parts.access.callerOf(request.raw), "fetch", target.cluster);
  await using object = await openObject(parts, target, request, reply);
  describeObject(object, request, reply);
  return await reply.send();
}

async function answerFetch(
  parts: RouteParts,
  request: FastifyRequest<WalRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { fetchDeadlineMs, stallMs } = parts.limits;
  const cluster = requireClusterName(request.params.cluster);
  try {
    const target = requireWalTarget(request.params);
    const caller = requireRight(parts.access.callerOf(request.raw), "fetch", cluster);
    await using object = await openObject(parts, target, request, reply);
    const form = describeObject(object, request, reply);
    const bytes = form === "zstd" ? object.frame() : object.plain();
    const deadlineMs = Math.max(0, fetchDeadlineMs - reply.elapsedTime);
    await sendBytes(reply, bytes, { stallMs, deadlineMs });
    countFetch(parts, cluster, "served");
    parts.metrics.fetchSeconds.observe({ cluster }, reply.elapsedTime / 1000);
    const { sizeBytes } = object.metadata;
    const durationMs = Math.round(reply.elapsedTime);
    const line = { wal: target.name.text, cluster, sizeBytes, durationMs, caller: caller.name };
    request.log.info(line, "fetched");
  } catch (error) {
    countFetch(parts, cluster, fetchLabelOf(error));
    if (!reply.sent) throw error;
    logFailure(error, request, reply);
  }
  return reply;
}

async function openObject(
  { archive, limits }: RouteParts,
  { cluster, name }: WalTarget,
  request: FastifyRequest<WalRoute>,
  reply: FastifyReply,
): Promise<VerifiedObject> {
  const systemIdentifier = readSystemIdentifier(request.raw);
  const { fetchDeadlineMs: deadlineMs } = limits;
  return withDeadline(
    async (signal) => {
      const object = await archive.fetch(cluster, name, { systemIdentifier, signal });
      // Nobody waits any more, so nobody else would dispose it.
      if (signal.aborted) await object[Symbol.asyncDispose]();
      return object;
    },
    {
      deadlineMs,
      signal: goneSignal(reply.raw),
      expired: () => tooSlow("the fetch", deadlineMs),
    },
  );
}

function describeObject(
  object: VerifiedObject,
  request: FastifyRequest,
  reply: FastifyReply,
): "zstd" | "plain" {
  const form = acceptsZstd(request.raw) ? "zstd" : "plain";
  reply.headers({
    "content-type": "application/octet-stream",
    "content-length": form === "zstd" ? object.frameBytes : object.metadata.sizeBytes,
    "walarc-sha256": object.metadata.sha256,
    "accept-ranges": "none",
    vary: "accept-encoding",
    ...(form === "zstd" ? { "content-encoding": "zstd" } : {}),
  });
  return form;
}

/** Only clusters that exist become label values, or anybody could make as many as they like. */
function isServed(archive: RouteParts["archive"], cluster: string): boolean {
  return archive.clusters().includes(cluster);
}

function countPush(parts: RouteParts, cluster: string, outcome: PushOutcomeLabel): void {
  if (isServed(parts.archive, cluster)) parts.metrics.pushes.inc({ cluster, outcome });
}

function countFetch(parts: RouteParts, cluster: string, outcome: FetchOutcomeLabel): void {
  if (isServed(parts.archive, cluster)) parts.metrics.fetches.inc({ cluster, outcome });
}

function labelOf(outcome: PushResult["outcome"]): PushOutcomeLabel {
  if (outcome === "kept-aside") return "conflict";
  return outcome === "archived" ? "archived" : "already_archived";
}

function pushLabelOf(error: unknown): PushOutcomeLabel {
  const { code } = failureOf(error);
  if (code === "conflict" || code === "rejected" || code === "denied") return code;
  return code === "usage" ? "rejected" : "failed";
}

function fetchLabelOf(error: unknown): FetchOutcomeLabel {
  const { code } = failureOf(error);
  if (code === "absent" || code === "gap" || code === "corrupt" || code === "denied") return code;
  return "failed";
}
