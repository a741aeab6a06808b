import { setTimeout as delay } from "node:timers/promises";

interface Patience {
  /** How long the state may take to come. */
  readonly deadlineMs?: number;
  readonly intervalMs?: number;
  /** Evidence for the error message when it never comes. */
  readonly evidence?: () => string;
}

/**
 * Asks until `probe` gives something other than `undefined` or `false`, and returns that. A probe
 * that throws counts as "not yet"; at the deadline the last error is the cause of ours.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  { deadlineMs = 30_000, intervalMs = 50, evidence = () => "" }: Patience = {},
): Promise<Exclude<T, undefined | false>> {
  const deadline = performance.now() + deadlineMs;
  let cause: unknown;
  do {
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
      cause = undefined;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      cause = error;
    }
    await delay(intervalMs);
  } while (performance.now() < deadline);
  throw new Error(`waited ${deadlineMs} ms in vain for: ${what}\n${evidence()}`, { cause });
}

/** Thrown by a probe that knows the state can no longer come. */
export class Hopeless extends Error {}
