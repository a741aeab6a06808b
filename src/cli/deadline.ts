import { describeServer } from "../client/connection.ts";
import type { ServerAddress } from "../config/server-address.ts";
import { WalarcError } from "../errors.ts";

/**
 * The total deadline of a call as a signal, which aborts with `unreachable`. Its timer keeps the
 * process: a command ends by saying so. What the call has waited for an attendant
 * (`bin/walarc-call.c`) is a part of its time, and at most half of it.
 */
export function deadlineSignal(timeoutMs: number, address: ServerAddress): AbortSignal {
  const controller = new AbortController();
  const expire = () => {
    const why = `no answer within ${timeoutMs / 1000} s`;
    controller.abort(new WalarcError("unreachable", `${describeServer(address)}: ${why}`));
  };
  setTimeout(expire, Math.max(timeoutMs / 2, timeoutMs - waitedMs()));
  return controller.signal;
}

function waitedMs(): number {
  const { WALARC_WAITED_MS: text = "" } = process.env;
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
}
