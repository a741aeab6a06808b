/** What this very server does, found out before it is trusted with anything. */
import { createHash, randomUUID } from "node:crypto";
import { WalarcError } from "../../errors.ts";
import type { Signalled } from "../store.ts";
import { type Abilities, etagAs } from "./creation.ts";
import {
  BrokenAnswer,
  isPreconditionFailure,
  isUnsupported,
  requireEtag,
  verdictOf,
} from "./failure.ts";
import { removeBatch, removeObject } from "./removal.ts";
import type { Attempt, Retries } from "./retries.ts";
import type { Answered, Body, PutConditions } from "./wire.ts";

/** Beside all clusters, where no listing of ours looks. */
export const PROBES = "probes/";
const RACERS = 16;
/** A start takes seconds, so who put an object so long ago was killed in it. */
const LEFT_MS = 3_600_000;
/** Of those so many are removed by one start. */
const LEFT_MAX = 100;
const WRONG_ETAG = "00000000000000000000000000000000";

/**
 * Puts small objects under keys of its own and removes them again, with what daemons have left that
 * were killed while they did the same. Rejects with `usage` when the
 * server does not honour `If-None-Match: *`, one request after the other and several at once: then
 * two servers that archive the same name would overwrite each other in silence. Rejects with
 * `store-failed` when the server cannot tell now.
 */
export async function probeServer(retries: Retries, { signal }: Signalled): Promise<Abilities> {
  const keys: string[] = [];
  const newKey = (): string => {
    const key = PROBES + randomUUID();
    keys.push(key);
    return key;
  };
  try {
    const checksum = await retries.run(
      "ask the server for conditional puts",
      (attempt) => probeInSequence(attempt, newKey),
      { signal },
    );
    await retries.run("race for a key", (attempt) => probeRace(attempt, newKey()), { signal });
    const ifMatch = await retries.run(
      "ask the server for exact puts",
      (attempt) => probeIfMatch(attempt, newKey()),
      { signal },
    );
    keys.push(...(await leftBehind(retries, keys.at(-1) ?? "", signal)));
    const gone = await removeBatch(retries, keys, { signal });
    return { checksum, ifMatch, removeMany: keys.every((key) => gone.has(key)) };
  } finally {
    await removeRest(retries, keys, signal);
  }
}

/** Whether checksums are known as well. */
async function probeInSequence(attempt: Attempt, newKey: () => string): Promise<boolean> {
  const key = newKey();
  const first = bodyOf("first");
  let checksum: boolean;
  try {
    const answer = await put(attempt, key, first, { ifNoneMatch: "*", hasChecksum: true });
    checksum = answer.sha256 === first.sha256;
  } catch (error) {
    if (isPreconditionFailure(error)) throw new BrokenAnswer("a new key is taken");
    if (!isUnsupported(error)) throw error;
    return await probeWithoutChecksum(attempt, newKey());
  }
  await requireRefusal(attempt, key);
  return checksum;
}

async function probeWithoutChecksum(attempt: Attempt, key: string): Promise<false> {
  try {
    await put(attempt, key, bodyOf("first"), { ifNoneMatch: "*", hasChecksum: false });
  } catch (error) {
    if (isUnsupported(error)) throw unsuitable("refuses it");
    throw error;
  }
  await requireRefusal(attempt, key);
  return false;
}

async function requireRefusal(attempt: Attempt, key: string): Promise<void> {
  const isCreated = await wins(attempt, key, bodyOf("second"));
  if (isCreated) throw unsuitable("overwrites all the same");
}

async function probeRace(attempt: Attempt, key: string): Promise<void> {
  const bodies = Array.from({ length: RACERS }, (_, racer) => bodyOf(`racer ${racer}`));
  const won = await Promise.all(bodies.map((body) => wins(attempt, key, body)));
  const winners = won.filter(Boolean).length;
  if (winners > 1) throw unsuitable(`told ${winners} of ${RACERS} at once that they created it`);
  if (winners === 0) throw new BrokenAnswer(`none of ${RACERS} could create a key`);
}

async function wins(attempt: Attempt, key: string, body: Body): Promise<boolean> {
  try {
    await put(attempt, key, body, { ifNoneMatch: "*", hasChecksum: false });
    return true;
  } catch (error) {
    // A conflict of several at once is told as 409 by some.
    if (isPreconditionFailure(error) || isConflict(error)) return false;
    throw error;
  }
}

async function probeIfMatch(attempt: Attempt, key: string): Promise<Abilities["ifMatch"]> {
  const body = bodyOf("the same each time, and so its ETag");
  const { etag } = await put(attempt, key, body, { hasChecksum: false });
  const replaces = async (ifMatch: string | undefined): Promise<boolean> => {
    try {
      await put(attempt, key, body, { ifMatch, hasChecksum: false });
      return true;
    } catch (error) {
      if (verdictOf(error) === "never") return false;
      throw error;
    }
  };
  if (etag === undefined) return undefined;
  for (const form of ["quoted", "bare"] as const) {
    const honours = await replaces(etagAs(form, etag));
    if (honours && !(await replaces(etagAs(form, WRONG_ETAG)))) return form;
  }
  return undefined;
}

async function put(
  attempt: Attempt,
  key: string,
  body: Body,
  conditions: PutConditions,
): Promise<Answered> {
  const { signal } = attempt;
  const answer = await attempt.request("put", (bucket) => {
    return bucket.put(key, body, { ...conditions, metadata: {}, signal });
  });
  return requireEtag(answer);
}

/** Keys put an hour before `own`, by the server's clock. None where it does not let us look. */
async function leftBehind(retries: Retries, own: string, signal: AbortSignal): Promise<string[]> {
  const ages = (prefix: string) =>
    retries.run(
      `look at "${prefix}"`,
      (attempt) => {
        return attempt.request("list", (bucket) => bucket.ages(prefix, { signal: attempt.signal }));
      },
      { signal },
    );
  try {
    const [now] = await ages(own);
    const untilMs = (now?.putAtMs ?? Number.NaN) - LEFT_MS;
    const old = (await ages(PROBES)).filter(({ putAtMs = Number.NaN }) => putAtMs < untilMs);
    return old.slice(0, LEFT_MAX).map(({ key }) => key);
  } catch (error) {
    if (signal.aborted || !(error instanceof WalarcError)) throw error;
    return [];
  }
}

/** Whatever became of the probe. What stays is small and in nobody's way. */
async function removeRest(retries: Retries, keys: string[], signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const removals = keys.map((key) => removeObject(retries, key, { signal }));
  for (const { reason } of rejected(await Promise.allSettled(removals))) {
    if (!signal.aborted && !(reason instanceof WalarcError)) throw reason;
  }
}

function rejected(results: PromiseSettledResult<unknown>[]): PromiseRejectedResult[] {
  return results.filter((result) => result.status === "rejected");
}

export function bodyOf(text: string): Body {
  const bytes = Buffer.from(text);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { sizeBytes: bytes.length, sha256, open: () => bytes };
}

function isConflict(error: unknown): boolean {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 409;
}

function unsuitable(what: string): WalarcError {
  const message = `the S3 server does not honour "If-None-Match: *": it ${what}`;
  return new WalarcError("usage", message, {
    hint:
      "With it, two servers that archive the same name would overwrite each other in silence; " +
      "docs/s3.md names servers that do. Ceph does, except in a bucket with versioning",
  });
}
