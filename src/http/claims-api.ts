/** What `/openapi.json` says of the requests about clusters and the claims on their WAL. */
import { jsonBody, type Operation } from "./api.ts";
import {
  CLUSTER_STATUS,
  CLUSTERS,
  HOLD,
  HOLDS,
  NEW_HOLD,
  PRUNE_WISH,
  PRUNED,
  RESTART_POINT,
  STANDBY,
  STANDBYS,
} from "./api-schemas.ts";
import type { Scope } from "./auth.ts";
import { SYSTEM_IDENTIFIER } from "./wal-api.ts";

const headers = SYSTEM_IDENTIFIER;

function reading(summary: string, schema: Parameters<typeof jsonBody>[0]): Operation {
  const answers = { 200: { description: summary, body: jsonBody(schema) } };
  return { summary, scope: "read", headers, answers, failures: ["unknown-cluster", "absent"] };
}

function writing(
  summary: string,
  scope: Scope,
  { takes, gives }: Record<"takes" | "gives", Parameters<typeof jsonBody>[0]>,
): Operation {
  return {
    summary,
    scope,
    headers,
    body: jsonBody(takes),
    answers: { 200: { description: "as it counts now", body: jsonBody(gives) } },
    failures: ["rejected", "store-failed"],
  };
}

function removing(summary: string): Operation {
  const answers = { 204: { description: "gone" } };
  return { summary, scope: "admin", headers, answers, failures: ["absent"] };
}

export const GET_CLUSTERS: Operation = {
  summary: "the status of every cluster that the caller may read",
  scope: "read",
  answers: { 200: { description: "by name", body: jsonBody(CLUSTERS) } },
};

export const GET_CLUSTER: Operation = {
  summary: "what the archive of a cluster holds, and who holds WAL back",
  scope: "read",
  answers: { 200: { description: "the status", body: jsonBody(CLUSTER_STATUS) } },
  failures: ["unknown-cluster"],
};

export const GET_STANDBYS = reading("the standbys and their restart points", STANDBYS);
export const GET_STANDBY = reading("one standby", STANDBY);
export const PUT_STANDBY = writing("report a restart point", "report", {
  takes: RESTART_POINT,
  gives: STANDBY,
});
export const DELETE_STANDBY = removing("forget a standby");

export const GET_HOLDS = reading("the holds", HOLDS);
export const GET_HOLD = reading("one hold", HOLD);
export const PUT_HOLD = writing("hold WAL back", "admin", { takes: NEW_HOLD, gives: HOLD });
export const DELETE_HOLD = removing("remove a hold");

export const POST_PRUNE: Operation = {
  summary: "remove what nothing claims, or tell what that would be",
  scope: "admin",
  body: { ...jsonBody(PRUNE_WISH), isOptional: true },
  answers: { 200: { description: "what was or would be removed", body: jsonBody(PRUNED) } },
  failures: ["unknown-cluster", "store-failed"],
};
