import { parse, TomlDate, TomlError } from "smol-toml";
import { ConfigFailure } from "./failure.ts";
import { isTable, type Path, type Problem, type Table } from "./problems.ts";

/**
 * The tables of a TOML text. Whole numbers too large for a `number` are `bigint`s. Throws a
 * `ConfigFailure` with line and column.
 */
export function parseToml(text: string): Table {
  try {
    return parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [first = ""] = error.message.split("\n");
    const why = first.replace(/^Invalid TOML document: /, "");
    const path = `line ${error.line}, column ${error.column}`;
    throw new ConfigFailure([{ path, why }], {
      hint: "the file must be TOML: texts in quotes, one key = value a line",
      cause: error,
    });
  }
}

/** Takes the dates out of the file, where no key wants one, and reports them. */
export function takeOutDates(file: Table): Problem[] {
  const problems: Problem[] = [];
  const visit = (value: unknown, path: Path): void => {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) visit(item, [...path, index]);
    } else if (isTable(value)) {
      for (const [key, item] of Object.entries(value)) {
        if (item instanceof TomlDate) {
          problems.push({ path: [...path, key], why: "is a date, which no key takes" });
          delete value[key];
        } else visit(item, [...path, key]);
      }
    }
  };
  visit(file, []);
  return problems;
}
