/** Holds a parsed file against the schema and words what is wrong, one problem per place. */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { type Form, formProblem } from "./forms.ts";
import { type FileConfig, fileSchema, STORES, type StoreKind } from "./schema.ts";
import { closest } from "./spelling.ts";

export type Path = readonly (string | number)[];

export interface Problem {
  readonly path: Path;
  /** Follows the path and a colon. */
  readonly why: string;
}

export type Table = Record<string, unknown>;

/**
 * Every place where the file does not have the shape of a configuration, in the file's order; fills
 * the defaults into `file`. Without problems it is a `FileConfig`.
 */
export function shapeProblems(file: Table): Problem[] {
  const kind = dropOtherStoresEmptyKeys(file);
  const validate = (validators[kind] ??= compile(kind));
  if (validate(file)) return [];
  const problems = new Map<string, Problem>();
  for (const error of validate.errors ?? []) {
    const problem = wordProblem(error, file);
    // One value can break several rules of the schema; the first is the plainest.
    const key = formatPath(problem.path);
    if (!problems.has(key)) problems.set(key, problem);
  }
  // Of a store of no known kind, nothing else can be judged.
  const isKindUnknown = problems.has("store.kind");
  return [...problems.values()].filter(
    ({ path }) => !isKindUnknown || path[0] !== "store" || path[1] === "kind",
  );
}

/** `clusters.main.standbys`, `tokens[0].sha256`, `clusters."no name"`. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => {
      if (typeof step === "number") return `[${step}]`;
      const text = /^[A-Za-z0-9_-]+$/.test(step) ? step : JSON.stringify(step);
      return index === 0 ? text : `.${text}`;
    })
    .join("");
}

/** A value as a message shows it: short, and in quotes when it is a text. */
export function quote(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? "a list" : "a table";
  }
  if (typeof value !== "string") return String(value);
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
}

export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const validators: Partial<Record<StoreKind, ValidateFunction<FileConfig>>> = {};

function compile(kind: StoreKind): ValidateFunction<FileConfig> {
  const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true, strictTypes: false });
  ajv.addKeyword({
    keyword: "form",
    schemaType: "object",
    validate: (form: Form, value: unknown) => formProblem(form, value) === undefined,
  });
  return ajv.compile<FileConfig>(fileSchema(STORES[kind]));
}

/**
 * The kind of store that the file means. Its other kind's keys may stand beside it as long as they
 * are empty, which is "not given" everywhere.
 */
function dropOtherStoresEmptyKeys(file: Table): StoreKind {
  const { store } = file;
  if (!isTable(store)) return "disk";
  const kind = store["kind"] === "s3" ? "s3" : "disk";
  for (const key of Object.keys(store)) {
    if (store[key] === "" && storeKindsWith(key).length > 0 && !hasKey(STORES[kind], key)) {
      delete store[key];
    }
  }
  return kind;
}

function storeKindsWith(key: string): StoreKind[] {
  return (Object.keys(STORES) as StoreKind[]).filter((kind) => hasKey(STORES[kind], key));
}

function hasKey(schema: { readonly properties: object }, key: string): boolean {
  return Object.hasOwn(schema.properties, key);
}

function wordProblem(error: ErrorObject, file: Table): Problem {
  const path = parsePointer(error.instancePath, file);
  const { keyword, data } = error;
  const params: Table = error.params;
  switch (keyword) {
    case "additionalProperties":
      return wordUnknownKey(path, String(params["additionalProperty"]), error);
    case "required":
      return { path: [...path, String(params["missingProperty"])], why: "is missing" };
    case "form": {
      const why = formProblem(error.schema as Form, data) ?? "is not allowed";
      // Of a name, the place is the name itself.
      if (error.propertyName !== undefined) return { path: [...path, error.propertyName], why };
      return { path, why: `${quote(data)} ${why}` };
    }
    case "propertyNames":
      return { path: [...path, String(params["propertyName"])], why: "is not a name" };
    case "type":
      return { path, why: `${quote(data)} is not ${TYPES[String(params["type"])] ?? "allowed"}` };
    case "enum":
      // The schema of one kind of store knows only itself.
      return formatPath(path) === "store.kind"
        ? { path, why: wordChoice(data, Object.keys(STORES)) }
        : { path, why: wordChoice(data, error.schema as string[]) };
    case "minimum":
    case "maximum": {
      const { minimum, maximum } = error.parentSchema as { minimum: number; maximum: number };
      return { path, why: `${quote(data)} is not between ${minimum} and ${maximum}` };
    }
    case "minItems":
      return { path, why: "names none" };
    case "uniqueItems":
      return { path, why: `names ${quote((data as unknown[])[Number(params["i"])])} twice` };
    default:
      return { path, why: `${quote(data)} ${error.message ?? "is not allowed"}` };
  }
}

const TYPES: Readonly<Record<string, string>> = {
  object: "a table",
  array: "a list",
  string: "a text; write it in quotes",
  boolean: "true or false",
  integer: "a whole number",
};

function wordUnknownKey(path: Path, key: string, error: ErrorObject): Problem {
  const at = [...path, key];
  const kinds = path.length === 1 && path[0] === "store" ? storeKindsWith(key) : [];
  if (kinds.length > 0) return { path: at, why: `belongs to a store of kind "${kinds.join()}"` };
  const known = Object.keys((error.parentSchema as { properties: object }).properties);
  const near = closest(key, known);
  const hint = near === undefined ? `known here: ${known.join(", ")}` : `did you mean "${near}"?`;
  return { path: at, why: `is not a known key; ${hint}` };
}

function wordChoice(value: unknown, words: readonly string[]): string {
  const near = typeof value === "string" ? closest(value, words) : undefined;
  const hint = near === undefined ? "" : `; did you mean "${near}"?`;
  const choice = words.map((word) => `"${word}"`).join(", ");
  return `${quote(value)} is not ${words.length === 1 ? choice : `one of ${choice}`}${hint}`;
}

/** The steps of a JSON pointer into the file; a step into a list is a number. */
function parsePointer(pointer: string, file: Table): Path {
  let at: unknown = file;
  return pointer
    .split("/")
    .slice(1)
    .map((escaped) => {
      const text = escaped.replaceAll("~1", "/").replaceAll("~0", "~");
      const step = Array.isArray(at) ? Number(text) : text;
      at = (at as Table)[step];
      return step;
    });
}
