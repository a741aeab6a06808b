/** Stands in for `node:util`: the part of `parseArgs` that our commands use. */

interface Token {
  readonly kind: "option" | "option-terminator" | "positional";
  readonly index: number;
  readonly name?: string;
  readonly rawName?: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

interface ArgumentsConfig {
  readonly args: readonly string[];
  /** Single letters are options without a value. */
  readonly options: Readonly<
    Record<string, { readonly type: "string" | "boolean"; readonly short?: string }>
  >;
  readonly strict: false;
  readonly allowPositionals: true;
  readonly tokens: true;
}

/** As Node does when nothing is strict: what is unknown is an option without a value. */
export function parseArgs({ args, options }: ArgumentsConfig): { tokens: Token[] } {
  const tokens: Token[] = [];
  const left = [...args];
  /** Letters of one argument that were put back as arguments. */
  let lettersLeft = 0;
  let index = -1;
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    if (lettersLeft > 0) lettersLeft -= 1;
    else index += 1;
    if (arg === "--") {
      tokens.push({ kind: "option-terminator", index });
      for (const value of left.splice(0)) {
        index += 1;
        tokens.push({ kind: "positional", index, value });
      }
    } else if (arg.startsWith("--")) {
      const token = longOption(arg, { index, next: left[0], options });
      tokens.push(token);
      if (token.inlineValue !== false) continue;
      left.shift();
      index += 1;
    } else if (!arg.startsWith("-") || arg === "-") {
      tokens.push({ kind: "positional", index, value: arg });
    } else if (arg.length > 2) {
      // Node takes each letter for an argument, and so the second sign in `-a-` for `--`.
      const letters = arg.slice(1).split("");
      left.unshift(...letters.map((letter) => `-${letter}`));
      lettersLeft = letters.length;
    } else {
      const name = longName(arg.slice(1), options);
      tokens.push({ kind: "option", name, rawName: arg, index, ...NO_VALUE });
    }
  }
  return { tokens };
}

const NO_VALUE = { value: undefined, inlineValue: undefined };

function longOption(
  arg: string,
  rest: { index: number; next: string | undefined; options: ArgumentsConfig["options"] },
): Token {
  const { index, next, options } = rest;
  // Node looks for a sign behind a first letter, and then takes the first one.
  if (arg.includes("=", 3)) {
    const equals = arg.indexOf("=");
    const [name, value] = [arg.slice(2, equals), arg.slice(equals + 1)];
    return { kind: "option", name, rawName: `--${name}`, index, value, inlineValue: true };
  }
  const name = arg.slice(2);
  const takesValue = Object.hasOwn(options, name) && options[name]?.type === "string";
  const value = takesValue && next !== undefined ? { value: next, inlineValue: false } : NO_VALUE;
  return { kind: "option", name, rawName: arg, index, ...value };
}

function longName(letter: string, options: ArgumentsConfig["options"]): string {
  for (const [name, { short }] of Object.entries(options)) if (short === letter) return name;
  return letter;
}
