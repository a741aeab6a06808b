/** The OpenAPI document (3.1), made from what the routes say of themselves. */
import type { FastifyInstance, RouteOptions } from "fastify";
import type * as Type from "typebox";
import type { FailureCode } from "../errors.ts";
import { VERSION } from "../version.ts";
import { PROBLEM } from "./api-schemas.ts";
import type { Scope } from "./auth.ts";
import { requireSomewhere } from "./auth.ts";
import type { RouteParts } from "./parts.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** What `/openapi.json` says of the route. Every route has it. */
    api?: Operation;
  }
}

/** What a route is for, what it takes and what it answers. */
export interface Operation {
  readonly summary: string;
  /** `undefined`: open to everybody who can connect. */
  readonly scope?: Scope;
  readonly headers?: Readonly<Record<string, Parameter>>;
  readonly query?: Readonly<Record<string, Parameter>>;
  readonly body?: Body & { readonly isOptional?: true };
  readonly answers: Readonly<Record<number, Answer>>;
  /** What this route in particular may fail with; every route may also fail as all do. */
  readonly failures?: readonly FailureCode[];
}

export interface Parameter {
  readonly description: string;
  readonly pattern?: string;
  readonly isRequired?: true;
}

export interface Body {
  readonly type: string;
  /** None for bytes. */
  readonly schema?: Type.TSchema;
}

export interface Answer {
  readonly description: string;
  /** Header names with what they tell; all of them are always there. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
}

export const JSON_TYPE = "application/json";
export const BYTES_TYPE = "application/octet-stream";
const PROBLEM_TYPE = "application/problem+json";

export function jsonBody(schema: Type.TSchema): Body {
  return { type: JSON_TYPE, schema };
}

const PATH_PARAMETERS: Record<string, object> = {
  cluster: { schema: { type: "string", pattern: "^[a-z0-9][a-z0-9_-]{0,62}$" } },
  name: { schema: { type: "string" }, description: "spelled exactly; nothing is decoded" },
};

/** Collects every route that is registered later, and serves them as a document. */
export function serveApi(server: FastifyInstance, { access }: Pick<RouteParts, "access">): void {
  const routes: RouteOptions[] = [];
  server.addHook("onRoute", (route) => void routes.push(route));
  let document: object | undefined;
  const api: Operation = {
    summary: "this document",
    scope: "read",
    answers: { 200: { description: "OpenAPI 3.1", body: { type: JSON_TYPE } } },
  };
  server.get("/openapi.json", { config: { api } }, async (request) => {
    requireSomewhere(access.callerOf(request.raw), "read");
    document ??= apiDocument(routes);
    return document;
  });
}

function apiDocument(routes: readonly RouteOptions[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { url, method, config } of routes) {
    const path = url.replace(/:(\w+)/g, "{$1}");
    const operations = (paths[path] ??= {});
    for (const verb of [method].flat()) {
      if (config?.api === undefined) throw new Error(`${verb} ${url} does not describe itself`);
      operations[verb.toLowerCase()] = operationObject(config.api, { path, verb });
    }
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "walarc",
      version: VERSION,
      description: "A PostgreSQL WAL archive server",
      license: { name: "MIT", identifier: "MIT" },
    },
    paths,
    components: {
      schemas: { Problem: PROBLEM },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        basic: { type: "http", scheme: "basic", description: "the token is the password" },
      },
    },
  };
}

function operationObject(
  { summary, scope, headers = {}, query = {}, body, answers, failures = [] }: Operation,
  { path, verb }: { path: string; verb: string },
): object {
  const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
  const parameters = [
    ...named.map((name) => ({ name, in: "path", required: true, ...PATH_PARAMETERS[name] })),
    ...Object.entries(headers).map((header) => parameterObject("header", header)),
    ...Object.entries(query).map((parameter) => parameterObject("query", parameter)),
  ];
  const isHead = verb === "HEAD";
  const responses = Object.entries(answers).map(([status, answer]) => {
    const { description, headers: told = {}, body: sent } = answer;
    const headerObjects = Object.entries(told).map(([name, meaning]) => {
      return [name, { required: true, description: meaning, schema: { type: "string" } }] as const;
    });
    return [
      status,
      {
        description,
        ...(headerObjects.length === 0 ? {} : { headers: Object.fromEntries(headerObjects) }),
        ...(sent === undefined || isHead ? {} : { content: contentObject(sent) }),
      },
    ] as const;
  });
  const problem = { $ref: "#/components/schemas/Problem" };
  const own = failures.length === 0 ? "" : `; here above all ${failures.join(", ")}`;
  const fallback = {
    description: `a failure, named by its code${own}`,
    ...(isHead ? {} : { content: { [PROBLEM_TYPE]: { schema: problem } } }),
  };
  return {
    summary,
    operationId: operationId(verb, path),
    security: scope === undefined ? [] : [{ bearer: [] }, { basic: [] }, {}],
    ...(scope === undefined ? {} : { "x-walarc-scope": scope }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: body.isOptional !== true, content: contentObject(body) } }),
    responses: { ...Object.fromEntries(responses), default: fallback },
  };
}

function parameterObject(place: "header" | "query", [name, parameter]: [string, Parameter]) {
  const { description, pattern, isRequired = false } = parameter;
  const schema = { type: "string", ...(pattern === undefined ? {} : { pattern }) };
  return { name, in: place, required: isRequired, description, schema };
}

function contentObject({ type, schema }: Body): object {
  return { [type]: schema === undefined ? {} : { schema } };
}

/** `putV1ClustersWal` and the like: the parts that are no parameters. */
function operationId(verb: string, path: string): string {
  const parts = path.split(/[/.]/).filter((part) => part !== "");
  const words = parts.map((part) => {
    const word = part.replace(/^\{(.*)\}$/, "by-$1");
    return word.replace(/(^|-)(\w)/g, (_, _dash, letter: string) => letter.toUpperCase());
  });
  return verb.toLowerCase() + (words.join("") || "Root");
}
