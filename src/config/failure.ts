import { WalarcError } from "../errors.ts";

/** A configuration that cannot be used: `usage`, with each problem for programs as well. */
export class ConfigFailure extends WalarcError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[], options?: { hint?: string; cause?: unknown }) {
    const lines = problems.map(({ path, why }) => `${path}: ${why}`);
    const [first = "no problem"] = lines;
    super("usage", lines.length === 1 ? first : `${lines.length} problems\n${lines.join("\n")}`, {
      ...options,
    });
    this.problems = problems;
  }
}

export interface ConfigProblem {
  /** `clusters.main.retention.keep_for`, or `line 3, column 5`. */
  readonly path: string;
  readonly why: string;
}
