/** Results as tables for people; every figure also as a ratio to one row. */

export interface Row {
  readonly name: string;
  readonly figures: Readonly<Record<string, number | undefined>>;
}

/** One column a figure; with `ratioTo`, behind each figure its ratio to that row's. */
export function printTable(
  title: string,
  rows: readonly Row[],
  options: { ratioTo?: string } = {},
) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row.figures)))];
  const base = rows.find((row) => row.name === options.ratioTo);
  const cells = rows.map((row) => [
    row.name,
    ...columns.map((column) => cellOf(row.figures[column], base?.figures[column])),
  ]);
  const lines = [["", ...columns], ...cells];
  const widths = lines[0]!.map((_, index) => Math.max(...lines.map((line) => line[index]!.length)));
  const text = lines.map((line) => {
    return line
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)))
      .join("  ");
  });
  const note = base === undefined ? "" : ` (in brackets: ratio to ${base.name})`;
  process.stdout.write(`\n${title}${note}\n${text.join("\n")}\n`);
}

function cellOf(value: number | undefined, base: number | undefined): string {
  if (value === undefined) return "-";
  const text = value >= 100 ? value.toFixed(0) : value.toFixed(1);
  return base === undefined || base === 0 ? text : `${text} (${(value / base).toFixed(2)})`;
}
