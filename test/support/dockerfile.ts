import { readFileSync } from "node:fs";

/** One instruction of a stage. */
export interface Instruction {
  readonly word: string;
  /** What follows the word, with continued lines joined. */
  readonly text: string;
}

export interface Stage {
  readonly name: string;
  /** Name of its base, with build arguments filled in. */
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

/** The instructions that are used here; another one is a mistake or wants a thought. */
const WORDS =
  /^(ARG|FROM|WORKDIR|COPY|RUN|USER|VOLUME|EXPOSE|HEALTHCHECK|STOPSIGNAL|ENTRYPOINT|CMD)$/;

/** Reads a Dockerfile of plain form: comments, continued lines, the words above. */
export function readDockerfile(path: string): Stage[] {
  const text = readFileSync(path, "utf8").replaceAll(/^\s*#.*\n/gm, "");
  const lines = text
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter(Boolean);
  const values = new Map<string, string>();
  const stages: { name: string; base: string; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const [, word = "", rest = ""] = /^(\w+) +(.+)$/.exec(line) ?? [];
    if (!WORDS.test(word)) throw new Error(`"${line}" is no instruction`);
    if (word === "ARG") {
      const [name = "", value = ""] = rest.split("=");
      values.set(name, value);
    } else if (word === "FROM") {
      const [, base = "", name = ""] = /^(\S+) AS (\w+)$/.exec(rest) ?? [];
      const filled = base.replaceAll(/\$\{(\w+)\}/g, (_, value: string) => values.get(value) ?? "");
      stages.push({ name, base: filled, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ word, text: rest });
    }
  }
  return stages;
}

/** The words of an instruction in JSON form; throws for one in shell form. */
export function execForm({ text }: Instruction): string[] {
  return JSON.parse(text.slice(text.indexOf("["))) as string[];
}

/** Sources and target of a COPY, and the stage it takes from. */
export function copied({ text }: Instruction): {
  from: string | undefined;
  sources: string[];
  target: string;
} {
  const [, from, rest = ""] = /^(?:--from=(\w+) )?(.+)$/.exec(text) ?? [];
  const words = rest.split(" ");
  return { from, sources: words.slice(0, -1), target: words.at(-1) ?? "" };
}
