import { makeToken, tokenDigest } from "../token.ts";
import { parseCommandLine } from "./options.ts";
import { printOutput } from "./output.ts";
import { reportFailure } from "./report.ts";

/**
 * `walarc token`: a new token and the lines that let its bearer in. Nothing is kept: the daemon
 * needs only the digest. Resolves to the exit status.
 */
export async function tokenCommand(args: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(args, {
      command: "token",
      positionals: [],
      flags: { json: "boolean" },
      kind: "local",
    });
    const token = makeToken();
    const sha256 = tokenDigest(token).toString("hex");
    const isJson = line.switches.has("json");
    await printOutput(isJson ? `${JSON.stringify({ token, sha256 })}\n` : explain(token, sha256));
    return 0;
  } catch (error) {
    return reportFailure("token", error);
  }
}

function explain(token: string, sha256: string): string {
  return `${token}

# The line above is the secret. Put it alone into a file on the host that pushes or fetches,
# readable by PostgreSQL's user only, and name the file there: token_file in the table [client]
# of /etc/walarc/walarc.toml, or --token-file. It is shown this once and kept nowhere.
#
# The lines below are no secret. Put them into the daemon's /etc/walarc/walarc.toml, with a name and
# rights of your choice, and reload it: systemctl reload walarc
[[tokens]]
name = "primary"
sha256 = "${sha256}"
clusters = ["main"]
scopes = ["push", "fetch", "report"]
`;
}
