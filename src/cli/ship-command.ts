import { dirname } from "node:path";
import { Ledger } from "../ahead/ledger.ts";
import { ship } from "../ahead/shipper.ts";
import { purposeOf, runInBackground } from "./background.ts";
import { endpointOf } from "./endpoint.ts";
import { identityHeader } from "./identity.ts";
import { LOOK_AHEAD_BYTES } from "./look-ahead.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { PUSH_SHAPE } from "./push-command.ts";

/**
 * `walarc ship`, no command for people: with its own arguments a `walarc push` starts it. Resolves
 * when the archiver stands still or the server is gone, to 0.
 */
export async function shipCommand(args: readonly string[]): Promise<number> {
  return await runInBackground(async ({ identity, signal }) => {
    const line = parseCommandLine(args, PUSH_SHAPE);
    const options = await resolveClientOptions(line);
    const walDirectory = dirname(line.positionals[0] ?? "");
    const purpose = purposeOf(options);
    const ledger = purpose && Ledger.in(walDirectory, purpose);
    if (ledger === undefined) return;
    await ship({
      ledger,
      identity,
      endpoint: endpointOf(options),
      cluster: options.cluster,
      headers: identityHeader(),
      limitBytes: options.lookAheadBytes ?? LOOK_AHEAD_BYTES,
      walDirectory,
      signal,
    });
  });
}
