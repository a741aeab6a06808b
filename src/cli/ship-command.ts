import { dirname } from "node:path";
import { attend } from "../ahead/attendant.ts";
import { Ledger } from "../ahead/ledger.ts";
import { ship } from "../ahead/shipper.ts";
import { answerPush } from "./attendant.ts";
import { purposeOf, runInBackground } from "./background.ts";
import { endpointOf } from "./endpoint.ts";
import { identityHeader } from "./identity.ts";
import { LOOK_AHEAD_BYTES } from "./look-ahead.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { PUSH_SHAPE } from "./push-command.ts";

/**
 * `walarc ship`, no command for people: with its own arguments a `walarc push` starts it, with
 * `--look-ahead 0` where nothing is to be sent. Resolves when the archiver stands still or the
 * server is gone, to 0.
 */
export async function shipCommand(args: readonly string[]): Promise<number> {
  return await runInBackground(async ({ identity, signal }) => {
    const line = parseCommandLine(args, PUSH_SHAPE);
    const options = await resolveClientOptions(line);
    const walDirectory = dirname(line.positionals[0] ?? "");
    const purpose = purposeOf(options);
    const ledger = purpose && Ledger.in(walDirectory, purpose);
    if (ledger === undefined) return;
    using _attendant = attend({
      place: ledger.place,
      identity,
      answer: (call, signal) => answerPush(call, { place: ledger.place, signal }),
    });
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
