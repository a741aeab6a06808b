/**
 * What the configuration can say and this version cannot do yet. Refused rather than ignored: an
 * operator must never believe in a protection that is not there. Whoever builds a feature deletes
 * its row.
 */
import type { Config } from "./config.ts";
import type { Path, Problem } from "./problems.ts";

const NOT_YET: readonly {
  /** What this version cannot do. */
  readonly feature: string;
  /** The places that use the feature. */
  readonly uses: (config: Config) => Path[];
}[] = [
];

export function unsupportedProblems(config: Config): Problem[] {
  return NOT_YET.flatMap(({ feature, uses }) =>
    uses(config).map((path) => ({ path, why: `this version cannot ${feature} yet` })),
  );
}
