import { once } from "node:events";
import { get } from "node:http";
import { type AddressInfo } from "node:net";
import { Ajv2020 } from "ajv/dist/2020.js";
import { pino } from "pino";
import { openAccess } from "../../src/http/auth.ts";
import { createServer } from "../../src/http/server.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { MemoryArchive } from "./memory-archive.ts";

export interface ApiDocument {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, ApiOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

export interface ApiOperation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, ApiResponse>>;
}

interface ApiResponse {
  readonly headers?: Readonly<Record<string, { readonly required: boolean }>>;
  readonly content?: Readonly<Record<string, { readonly schema?: object }>>;
}

export interface AnswerToCheck {
  readonly method: string;
  /** As it was asked, with its query. */
  readonly path: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** Of the socket's listener, which offers everything that there is. */
let fetched: Promise<ApiDocument> | undefined;

export function apiDocument(): Promise<ApiDocument> {
  fetched ??= fetchDocument();
  return fetched;
}

/** Throws when the daemon may not answer so, by its own OpenAPI document. */
export async function requireDocumented(answer: AnswerToCheck): Promise<void> {
  const problem = undocumented(await apiDocument(), answer);
  if (problem === undefined) return;
  const { method, path, status } = answer;
  throw new Error(`the answer ${status} to ${method} ${path} is not as documented: ${problem}`);
}

/** What is wrong with the answer, if anything. */
export function undocumented(document: ApiDocument, answer: AnswerToCheck): string | undefined {
  const operation = operationOf(document, answer);
  const { method, status, headers, body } = answer;
  const response = operation?.responses[status] ?? fallbackOf(document, operation, status);
  if (response === undefined) return "there is no such operation, and it succeeded";
  for (const name of Object.keys(response.headers ?? {})) {
    if (headers[name] === undefined) return `the header ${name} is missing`;
  }
  if (method === "HEAD") return body.length === 0 ? undefined : "a HEAD has no body";
  const [type = ""] = String(headers["content-type"] ?? "").split(";");
  const { content } = response;
  if (content === undefined) return body.length === 0 ? undefined : "it has a body";
  const found = content[type];
  if (found === undefined) return `it is "${type}", not ${Object.keys(content).join(" or ")}`;
  return found.schema === undefined ? undefined : misfit(document, found.schema, answer);
}

function misfit(
  document: ApiDocument,
  schema: object,
  { body, status }: AnswerToCheck,
): string | undefined {
  const value: unknown = JSON.parse(body.toString());
  const validate = validatorOf(document, schema);
  if (!validate(value)) return JSON.stringify(validate.errors?.slice(0, 3));
  const told = (value as { status?: unknown } | null)?.status;
  return typeof told === "number" && told !== status ? `its body says ${told}` : undefined;
}

const validators = new WeakMap<object, ReturnType<Ajv2020["compile"]>>();

function validatorOf(document: ApiDocument, schema: object): ReturnType<Ajv2020["compile"]> {
  const known = validators.get(schema);
  if (known !== undefined) return known;
  const ajv = new Ajv2020({
    allErrors: true,
    strict: false,
    formats: { "date-time": (text: string) => /T.*Z$/.test(text) && !isNaN(Date.parse(text)) },
  });
  const { components } = document;
  const compiled = ajv.compile({ ...resolved(schema, components.schemas), components });
  validators.set(schema, compiled);
  return compiled;
}

function resolved(schema: object, schemas: Readonly<Record<string, object>>): object {
  const reference = (schema as { $ref?: string }).$ref;
  if (reference === undefined) return schema;
  return schemas[reference.replace("#/components/schemas/", "")] ?? schema;
}

function operationOf(
  { paths }: ApiDocument,
  { method, path }: AnswerToCheck,
): ApiOperation | undefined {
  const parts = (path.split("?", 1)[0] ?? "").split("/");
  const template = Object.keys(paths).find((candidate) => {
    const wanted = candidate.split("/");
    return (
      wanted.length === parts.length &&
      wanted.every((part, index) => part.startsWith("{") || part === parts[index])
    );
  });
  return template === undefined ? undefined : paths[template]?.[method.toLowerCase()];
}

/** Requests that no operation is for, and all other failures: always a problem. */
function fallbackOf(
  { paths }: ApiDocument,
  operation: ApiOperation | undefined,
  status: number,
): ApiResponse | undefined {
  if (status < 400) return undefined;
  return (operation ?? paths["/openapi.json"]?.["get"])?.responses["default"];
}

async function fetchDocument(): Promise<ApiDocument> {
  const http = await createServer({
    archive: new MemoryArchive("main"),
    readiness: () => ({ ready: true, reasons: [] }),
    listener: "socket",
    access: openAccess(),
    metrics: createMetrics({ version: "0" }),
    log: pino({ level: "silent" }),
    shutdownGraceMs: 0,
  });
  http.server.listen(0, "127.0.0.1");
  await once(http.server, "listening");
  try {
    return JSON.parse(await textAt((http.server.address() as AddressInfo).port)) as ApiDocument;
  } finally {
    await http[Symbol.asyncDispose]();
  }
}

function textAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const where = { host: "127.0.0.1", port, path: "/openapi.json", agent: false };
    get(where, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => resolve(Buffer.concat(chunks).toString()));
    }).once("error", reject);
  });
}
