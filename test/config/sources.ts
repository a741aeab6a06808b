import { ConfigFailure } from "../../src/config/failure.ts";
import { parseConfig } from "../../src/config/parser.ts";

/** The least a configuration must say. */
export const STORE = 'store = { path = "/archive" }\n';

export const DIGEST = "ab".repeat(32);

/** A sound `[[tokens]]` table, or one with other values, given as TOML. */
export function token(
  more: { name?: string; sha256?: string; clusters?: string; scopes?: string } = {},
) {
  return `[[tokens]]
name = "${more.name ?? "primary"}"
sha256 = "${more.sha256 ?? DIGEST}"
clusters = ${more.clusters ?? '["*"]'}
scopes = ${more.scopes ?? '["push"]'}
`;
}

/** Every problem of a text, one line each. */
export function problemsOf(text: string): string[] {
  try {
    parseConfig(text);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigFailure)) throw error;
    return error.problems.map(({ path, why }) => `${path}: ${why}`);
  }
}
