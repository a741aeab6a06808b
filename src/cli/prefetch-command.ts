import { dirname } from "node:path";
import { attend } from "../ahead/attendant.ts";
import { prefetch } from "../ahead/prefetcher.ts";
import { Stock } from "../ahead/stock.ts";
import { answerFetch } from "./attendant.ts";
import { purposeOf, runInBackground } from "./background.ts";
import { endpointOf } from "./endpoint.ts";
import { FETCH_SHAPE } from "./fetch-command.ts";
import { identityHeader } from "./identity.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";

/**
 * `walarc prefetch`, no command for people: with its own arguments a `walarc fetch` starts it.
 * Resolves when nobody needs the stock any more, to 0.
 */
export async function prefetchCommand(args: readonly string[]): Promise<number> {
  return await runInBackground(async ({ identity, signal }) => {
    const line = parseCommandLine(args, FETCH_SHAPE);
    const options = await resolveClientOptions(line);
    const walDirectory = dirname(line.positionals[1] ?? "");
    const purpose = purposeOf(options);
    const stock = purpose && Stock.in(walDirectory, purpose);
    if (stock === undefined) return;
    const missed = new Set<string>();
    using _attendant = attend({
      place: stock.place,
      identity,
      answer: (call, signal) => answerFetch(call, { place: stock.place, missed, signal }),
    });
    await prefetch({
      stock,
      missed,
      identity,
      endpoint: endpointOf(options),
      cluster: options.cluster,
      headers: identityHeader(),
      limitBytes: options.prefetchBytes,
      walDirectory,
      signal,
    });
  });
}
