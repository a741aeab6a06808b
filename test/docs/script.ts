import { type Host, isHost } from "./hosts.ts";

/** One thing that a document tells its reader to do, or to expect. */
export type Step =
  | { readonly kind: "run"; readonly host: Host; readonly user: string; readonly text: string }
  | { readonly kind: "file"; readonly host: Host; readonly path: string; readonly text: string }
  | { readonly kind: "copy"; readonly from: [Host, string]; readonly to: [Host, string] }
  | { readonly kind: "prints"; readonly text: string };

export interface PlacedStep {
  readonly step: Step;
  /** In the document, from 1. */
  readonly line: number;
}

/**
 * The steps of a Markdown document, marked by comments that readers do not see:
 *
 *     <!-- on HOST as USER -->            the next code block is run there
 *     <!-- file on HOST: PATH -->         the next code block is what the file then holds
 *     <!-- copied HOST:PATH HOST:PATH --> the text tells to bring a file over
 *     <!-- prints: TEXT -->               the last command printed that
 *
 * Throws for a comment that is none of these, and for a shell block that is not marked at all.
 */
export function stepsOf(markdown: string): PlacedStep[] {
  const steps: PlacedStep[] = [];
  const lines = markdown.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    const comment = /^<!-- (.*) -->$/.exec(line)?.[1];
    if (/^```(sh|bash)$/.test(line)) throw new Error(`line ${at + 1}: a block that nobody runs`);
    if (comment === undefined) {
      // What shows a thing and is not done.
      if (line.startsWith("```")) at = endOfBlock(lines, at);
      continue;
    }
    const place = { line: at + 1 };
    const own = stepWithoutBlock(comment);
    if (own !== undefined) {
      steps.push({ step: own, ...place });
      continue;
    }
    const end = endOfBlock(lines, at + 1);
    const text = lines.slice(at + 2, end).join("\n");
    steps.push({ step: stepWithBlock(comment, `${text}\n`, at + 1), ...place });
    at = end;
  }
  return steps;
}

function stepWithoutBlock(comment: string): Step | undefined {
  const printed = /^prints: (.+)$/.exec(comment)?.[1];
  if (printed !== undefined) return { kind: "prints", text: printed };
  const copied = /^copied (\S+):(\S+) (\S+):(\S+)$/.exec(comment);
  if (copied === null) return undefined;
  const [, from = "", fromPath = "", to = "", toPath = ""] = copied;
  return { kind: "copy", from: [requireHost(from), fromPath], to: [requireHost(to), toPath] };
}

function stepWithBlock(comment: string, text: string, line: number): Step {
  const [, host = "", user = ""] = /^on (\S+) as (\S+)$/.exec(comment) ?? [];
  if (user !== "") return { kind: "run", host: requireHost(host), user, text };
  const [, fileHost = "", path = ""] = /^file on (\S+): (\S+)$/.exec(comment) ?? [];
  if (path !== "") return { kind: "file", host: requireHost(fileHost), path, text };
  throw new Error(`line ${line}: "${comment}" is no step`);
}

function endOfBlock(lines: readonly string[], start: number): number {
  if (lines[start]?.startsWith("```") !== true) throw new Error(`line ${start + 1}: no block here`);
  const end = lines.indexOf("```", start + 1);
  if (end < 0) throw new Error(`line ${start + 1}: a block without an end`);
  return end;
}

function requireHost(text: string): Host {
  if (isHost(text)) return text;
  throw new Error(`"${text}" is no host of the documents`);
}
