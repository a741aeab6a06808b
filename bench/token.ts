/** The token that everybody in the benchmarks has. */
import { createHash } from "node:crypto";
import type { Workspace } from "../test/support/workspace.ts";

export interface BenchToken {
  /** For a command that goes over TCP. */
  readonly option: string;
  /** For the daemon. */
  readonly config: string;
}

export async function makeToken(workspace: Workspace): Promise<BenchToken> {
  const token = "walarc_bench";
  const file = await workspace.writeFile(workspace.path("token"), token, 0o600);
  const sha256 = createHash("sha256").update(token).digest("hex");
  const config = `[[tokens]]
name = "bench"
sha256 = "${sha256}"
clusters = ["*"]
scopes = ["push", "fetch", "read"]
`;
  return { option: `--token-file ${file}`, config };
}
