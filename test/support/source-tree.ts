import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** Paths with their texts. */
export type SourceTree = ReadonlyMap<string, string>;

export interface Import {
  /** As written: `./name.ts`, `node:fs`, `pino`. */
  readonly specifier: string;
  /** Relative ones as a path of the tree. */
  readonly path: string | undefined;
  /** "types" vanish when the program runs, "late" ones are `import()`. */
  readonly kind: "values" | "types" | "late";
}

const STATIC = /^(?:import|export)(\s+type)?\b(?:[^;"']*?\bfrom)?\s*["']([^"']+)["']/gm;
const LATE = /\bimport\(\s*["']([^"']+)["']/g;

/** All TypeScript files under `directory` of the project, by their paths from there. */
export function readSourceTree(directory: string): SourceTree {
  const root = join(import.meta.dirname, "../..", directory);
  const paths = globSync("**/*.ts", { cwd: root }).sort();
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

export function importsOf(path: string, text: string): Import[] {
  const code = withoutComments(text);
  const imports: Import[] = [];
  for (const [, type, specifier = ""] of code.matchAll(STATIC)) {
    imports.push(importOf(path, specifier, type === undefined ? "values" : "types"));
  }
  for (const [, specifier = ""] of code.matchAll(LATE)) {
    imports.push(importOf(path, specifier, "late"));
  }
  return imports;
}

function importOf(from: string, specifier: string, kind: Import["kind"]): Import {
  const path = specifier.startsWith(".") ? normalize(join(dirname(from), specifier)) : undefined;
  return { specifier, path, kind };
}

/** Good enough for formatted code: a comment begins a line or follows a space. */
export function withoutComments(text: string): string {
  return text.replaceAll(/^\s*\/\*[^]*?\*\//gm, "").replaceAll(/(^|\s)\/\/ .*$/gm, "");
}
