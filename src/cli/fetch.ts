import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isFailure, WalarcError } from "../errors.ts";
import { checkFirstPage, FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import { parseHistory } from "../wal/history.ts";
import { requireWalName, type WalName } from "../wal/name.ts";
import { Delivery, sweepAbandoned } from "./delivery.ts";
import type { Endpoint } from "../client/connection.ts";
import { download } from "../client/download.ts";
import { identityHeader } from "./identity.ts";
import { isRecoveryTarget } from "./setting.ts";

export interface FetchOptions {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  /** Tries again while the archive cannot be asked, until `signal` ends it. */
  readonly retry: "never" | "until-deadline";
  readonly signal: AbortSignal;
}

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2_000;
/** When there is time for another try, a connection on which nothing moves is given up. */
const STANDSTILL_MS = 60_000;

/**
 * `walarc fetch NAME DESTINATION`, the restore_command. Resolves when the verified file stands at
 * `destination`; rejects with a `WalarcError` and nothing there. `absent` is the archive's own word
 * that it has no such file; no other failure turns into it.
 */
export async function fetchFile(
  nameText: string,
  destination: string,
  options: FetchOptions,
): Promise<void> {
  const name = requireWalName(nameText);
  let failure: WalarcError | undefined;
  for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
    try {
      return await fetchOnce(name, destination, options);
    } catch (error) {
      if (options.signal.aborted) throw giveUp(failure, error, options.signal);
      if (isFailure(error, "gap") && isInPgWal(name, destination))
        throw absentByOwnCopy(name, error);
      if (!isWorthRetry(error) || options.retry === "never") throw error;
      failure = error;
    }
    try {
      await delay(waitMs * (0.5 + Math.random()), undefined, { signal: options.signal });
    } catch {
      throw giveUp(failure, options.signal.reason, options.signal);
    }
  }
}

async function fetchOnce(name: WalName, destination: string, options: FetchOptions): Promise<void> {
  let delivery: Delivery | undefined;
  try {
    const sha256 = await download({
      endpoint: options.endpoint,
      cluster: options.cluster,
      name,
      headers: identityHeader(),
      onSent: () => sweepAbandoned(dirname(destination)),
      open: () => (delivery = new Delivery(destination)),
      signal: options.signal,
      idleTimeoutMs: options.retry === "never" ? undefined : STANDSTILL_MS,
    });
    delivery?.publish(sha256);
  } finally {
    delivery?.[Symbol.dispose]();
  }
}

function isWorthRetry(error: unknown): error is WalarcError {
  return isFailure(error, "unreachable") || isFailure(error, "store-failed");
}

/** What to say at the deadline: the last thing that went wrong tells more than the clock. */
function giveUp(failure: WalarcError | undefined, error: unknown, signal: AbortSignal): unknown {
  if (failure === undefined || error !== signal.reason) return error;
  const { hint } = failure;
  const message = `${failure.message}, tried again until the deadline`;
  return new WalarcError(failure.code, message, {
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}

/**
 * Whether PostgreSQL has the file in its own `pg_wal`, where it looks next. The name alone says
 * nothing: a recycled segment stands under its future name with its old content, and a recovery
 * that reads it ends there.
 */
function isInPgWal(name: WalName, destination: string): boolean {
  if (!isRecoveryTarget(destination)) return false;
  const path = join(dirname(destination), name.text);
  try {
    if (name.kind === "history") {
      parseHistory(name, readFileSync(path, "latin1"));
      return true;
    }
    const descriptor = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(FIRST_PAGE_BYTES);
      const count = readSync(descriptor, bytes, 0, bytes.length, 0);
      const sizeBytes = fstatSync(descriptor).size;
      checkFirstPage(name, readFirstPage(bytes.subarray(0, count)), { binding: {}, sizeBytes });
      return true;
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return false; // Not there, or not that segment: the gap stands.
  }
}

function absentByOwnCopy(name: WalName, cause: WalarcError): WalarcError {
  return new WalarcError("absent", `${name.text} is in pg_wal and not in the archive`, { cause });
}
