/** What archives see of the spools that feed them. */
import { isFailure, WalarcError } from "../errors.ts";
import type { SpoolStatus } from "../spool/status.ts";
import type { WalName } from "../wal/name.ts";

export interface Feed {
  status(): SpoolStatus;
  /** Whether the WAL file, or a later segment of its timeline, waits to be archived. */
  isWaiting(name: WalName): Promise<boolean>;
}

/**
 * Runs a fetch of the name. Where it is absent and yet waits in a spool, or its timeline goes on
 * there, the answer is a gap: PostgreSQL may end a recovery on "absent".
 */
export async function fetchBeside<T>(
  feeds: readonly Feed[],
  name: WalName,
  fetch: () => Promise<T>,
): Promise<T> {
  // Asked first: what is archived and taken out of the spool in between is found by the fetch.
  const waiting = await Promise.all(feeds.map((feed) => feed.isWaiting(name)));
  try {
    return await fetch();
  } catch (error) {
    if (!isFailure(error, "absent") || !waiting.includes(true)) throw error;
    const why = `${name.text} is not archived yet: its timeline waits in a spool`;
    throw new WalarcError("gap", why, { hint: 'ask again in a moment, or see "walarc status"' });
  }
}
