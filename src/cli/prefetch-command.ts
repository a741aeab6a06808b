import { dirname } from "node:path";
import { prefetch } from "../prefetch/prefetcher.ts";
import { processIdentity } from "../prefetch/process.ts";
import { endpointOf } from "./endpoint.ts";
import { fetchShape } from "./fetch-command.ts";
import { identityHeader } from "./identity.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { stockOf } from "./supply.ts";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/**
 * `walarc prefetch`, no command for people: with its own arguments a `walarc fetch` starts it.
 * Resolves when nobody needs the stock any more, and always to 0: whoever inherits the process
 * shall find nothing wrong with its end.
 */
export async function prefetchCommand(args: readonly string[]): Promise<number> {
  const stop = new AbortController();
  for (const signal of SIGNALS) process.on(signal, () => stop.abort());
  try {
    const line = parseCommandLine(args, fetchShape);
    const options = await resolveClientOptions(line);
    const walDirectory = dirname(line.positionals[1] ?? "");
    const stock = stockOf(walDirectory, options);
    const identity = processIdentity(process.pid);
    if (stock === undefined || identity === undefined) return 0;
    await prefetch({
      stock,
      identity,
      endpoint: endpointOf(options),
      cluster: options.cluster,
      headers: identityHeader(),
      limitBytes: options.prefetchBytes,
      walDirectory,
      signal: stop.signal,
    });
  } catch {
    // The fetch itself has the same arguments, and says what is wrong with them.
  }
  return 0;
}
