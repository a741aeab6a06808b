import { describeServer } from "../client/connection.ts";
import type { ServerAddress } from "../config/server-address.ts";
import { WalarcError } from "../errors.ts";

/**
 * The total deadline of a call as a signal, which aborts with `unreachable`. Its timer keeps the
 * process: a command ends by saying so.
 */
export function deadlineSignal(timeoutMs: number, address: ServerAddress): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => {
    const why = `no answer within ${timeoutMs / 1000} s`;
    controller.abort(new WalarcError("unreachable", `${describeServer(address)}: ${why}`));
  }, timeoutMs);
  return controller.signal;
}
