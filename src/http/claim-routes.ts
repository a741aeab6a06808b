/** Restart points and holds. A route translates; what is believed is decided in retention/. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { WalarcError } from "../errors.ts";
import { withDeadline } from "../lifecycle.ts";
import { requireClaimantName } from "../retention/keys.ts";
import { holdStatuses, standbyStatuses } from "../retention/overview.ts";
import type { Retention } from "../retention/retention.ts";
import { goneSignal, tooSlow } from "./answer.ts";
import { requireRight, type Scope } from "./auth.ts";
import {
  DELETE_HOLD,
  DELETE_STANDBY,
  GET_HOLD,
  GET_HOLDS,
  GET_STANDBY,
  GET_STANDBYS,
  PUT_HOLD,
  PUT_STANDBY,
} from "./claims-api.ts";
import { readJson } from "./json-body.ts";
import type { RouteParts } from "./parts.ts";
import { passBodiesThrough } from "./request-body.ts";
import { requireClusterName } from "./url.ts";
import { readSystemIdentifier } from "./wal-headers.ts";

interface ClusterRoute {
  Params: { cluster: string };
}

interface ClaimRoute {
  Params: { cluster: string; name: string };
}

type Request = FastifyRequest<ClusterRoute>;

const STANDBYS = "/v1/clusters/:cluster/standbys";
const STANDBY = `${STANDBYS}/:name`;
const HOLDS = "/v1/clusters/:cluster/holds";
const HOLD = `${HOLDS}/:name`;

/** RFC 3339: with a zone, because a hold that ends hours early has not held. */
const TIME = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/i;

export async function claimRoutes(server: FastifyInstance, parts: RouteParts): Promise<void> {
  passBodiesThrough(server);
  standbyRoutes(server, parts);
  holdRoutes(server, parts);
}

function standbyRoutes(server: FastifyInstance, parts: RouteParts): void {
  server.get<ClusterRoute>(STANDBYS, { config: { api: GET_STANDBYS } }, (request, reply) =>
    answer(parts, "read", { request, reply }, async (retention, signal) => ({
      standbys: await standbysIn(retention, signal),
    })),
  );

  server.get<ClaimRoute>(STANDBY, { config: { api: GET_STANDBY } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "read", { request, reply }, (retention, signal) => {
      requireClaimantName("standby", name);
      return standbyIn(retention, name, signal);
    });
  });

  server.put<ClaimRoute>(STANDBY, { config: { api: PUT_STANDBY } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "report", { request, reply }, async (retention, signal) => {
      requireClaimantName("standby", name);
      const restartPoint = await readRestartPoint(parts, { request, reply, signal });
      await retention.register.report(name, restartPoint, { source: "report", signal });
      request.log.debug({ standby: name, restartPoint }, "restart point reported");
      return await standbyIn(retention, name, signal);
    });
  });

  server.delete<ClaimRoute>(STANDBY, { config: { api: DELETE_STANDBY } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "admin", { request, reply }, async (retention, signal) => {
      await retention.register.forget(name, { signal });
      return undefined;
    });
  });
}

function holdRoutes(server: FastifyInstance, parts: RouteParts): void {
  server.get<ClusterRoute>(HOLDS, { config: { api: GET_HOLDS } }, (request, reply) =>
    answer(parts, "read", { request, reply }, async ({ register }, signal) => ({
      holds: holdStatuses(await register.load({ signal })),
    })),
  );

  server.get<ClaimRoute>(HOLD, { config: { api: GET_HOLD } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "read", { request, reply }, (retention, signal) => {
      requireClaimantName("hold", name);
      return holdIn(retention, name, signal);
    });
  });

  server.put<ClaimRoute>(HOLD, { config: { api: PUT_HOLD } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "admin", { request, reply }, async (retention, signal) => {
      requireClaimantName("hold", name);
      const hold = await readHold(parts, { request, reply, signal });
      await retention.register.putHold(name, { ...hold, signal });
      return await holdIn(retention, name, signal);
    });
  });

  server.delete<ClaimRoute>(HOLD, { config: { api: DELETE_HOLD } }, (request, reply) => {
    const { name } = request.params;
    return answer(parts, "admin", { request, reply }, async (retention, signal) => {
      await retention.register.removeHold(name, { signal });
      return undefined;
    });
  });
}

/** Answers with what `work` resolves to, or with 204 for nothing, within the deadline. */
async function answer(
  { archive, access, limits }: RouteParts,
  scope: Scope,
  { request, reply }: { request: Request; reply: FastifyReply },
  work: (retention: Retention, signal: AbortSignal) => Promise<object | undefined>,
): Promise<FastifyReply> {
  const cluster = requireClusterName(request.params.cluster);
  requireRight(access.callerOf(request.raw), scope, cluster);
  const systemIdentifier = readSystemIdentifier(request.raw);
  const { answerDeadlineMs: deadlineMs } = limits;
  const found = await withDeadline(
    async (signal) => {
      return await work(await archive.retention(cluster, { systemIdentifier, signal }), signal);
    },
    {
      deadlineMs,
      signal: goneSignal(reply.raw),
      expired: () => tooSlow("the answer", deadlineMs),
    },
  );
  return found === undefined ? reply.code(204).send() : reply.send(found);
}

async function standbysIn({ register }: Retention, signal: AbortSignal) {
  return standbyStatuses(await register.load({ signal }), register);
}

async function standbyIn(retention: Retention, name: string, signal: AbortSignal) {
  const standbys = await standbysIn(retention, signal);
  const found = standbys.find((standby) => standby.name === name);
  if (found === undefined) throw new WalarcError("absent", `there is no standby "${name}"`);
  return found;
}

async function holdIn({ register }: Retention, name: string, signal: AbortSignal) {
  const found = holdStatuses(await register.load({ signal })).find((hold) => hold.name === name);
  if (found === undefined) throw new WalarcError("absent", `there is no hold "${name}"`);
  return found;
}

interface Reading {
  readonly request: Request;
  readonly reply: FastifyReply;
  readonly signal: AbortSignal;
}

async function readRestartPoint(
  { limits: { stallMs } }: RouteParts,
  { request, reply, signal }: Reading,
): Promise<string> {
  const allowed = ["restartPoint"];
  const { restartPoint } = await readJson(request, reply, { allowed, stallMs, signal });
  if (typeof restartPoint === "string") return restartPoint;
  throw new WalarcError("usage", '"restartPoint" is not given as a text', {
    hint: 'send {"restartPoint": "000000010000000000000005"}',
  });
}

async function readHold(
  { limits: { stallMs } }: RouteParts,
  { request, reply, signal }: Reading,
): Promise<{ from: string; until: Date | undefined }> {
  const allowed = ["from", "until"];
  const { from, until } = await readJson(request, reply, { allowed, stallMs, signal });
  if (typeof from !== "string") throw new WalarcError("usage", '"from" is not given as a text');
  if (until === undefined || until === null) return { from, until: undefined };
  const time = typeof until === "string" ? timeIn(until) : undefined;
  if (time !== undefined) return { from, until: time };
  throw new WalarcError("usage", '"until" is not a time', {
    hint: "write it with its zone: 2030-01-31T08:00:00Z; null is for good",
  });
}

function timeIn(text: string): Date | undefined {
  const [time, day] = [new Date(text), new Date(`${text.slice(0, 10)}T00:00Z`)];
  if (!TIME.test(text) || Number.isNaN(time.getTime()) || Number.isNaN(day.getTime())) {
    return undefined;
  }
  // JavaScript takes February 31 for March 3.
  return day.toISOString().startsWith(text.slice(0, 10)) ? time : undefined;
}
