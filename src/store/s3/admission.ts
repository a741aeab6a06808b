/** Whether the bucket may be used: asked until it has been answered, then never again. */
import { isFailure, WalarcError } from "../../errors.ts";
import { MemoryBudget } from "../../object/verify.ts";
import type { Signalled } from "../store.ts";
import { type Abilities, Creation } from "./creation.ts";
import { listPage } from "./listing.ts";
import { bodyOf, PROBES, probeServer } from "./probe.ts";
import { openObject } from "./reading.ts";
import type { Retries } from "./retries.ts";
import type { BucketConfig } from "../../config/config.ts";
import type { BucketRequests } from "./wire.ts";

const FORMAT = 1;
const MARKER = "walarc.json";
const MARKER_BYTES_MAX = 64 * 1024;
/** One attempt; whoever needs the bucket afterwards begins another one. */
const ATTEMPT_MS_MAX = 30_000;

export class Admission {
  readonly #retries: Retries;
  readonly #bucket: BucketRequests;
  readonly #place: string;
  #abilities: Abilities | undefined;
  #entering: Promise<Abilities> | undefined;
  #refusal: WalarcError | undefined;

  constructor(
    retries: Retries,
    { bucket, settings }: { bucket: BucketRequests; settings: BucketConfig },
  ) {
    this.#retries = retries;
    this.#bucket = bucket;
    this.#place = `"${settings.bucket}/${settings.prefix}"`;
  }

  /** As `enter`, but a refusal is `store-failed`: whoever uses the store made no mistake. */
  async require(options: Signalled): Promise<Abilities> {
    options.signal.throwIfAborted();
    if (this.#abilities !== undefined) return this.#abilities;
    try {
      return await this.enter(options);
    } catch (error) {
      if (!isFailure(error, "usage")) throw error;
      const { message, hint } = error;
      throw new WalarcError("store-failed", message, {
        cause: error,
        ...(hint === undefined ? {} : { hint }),
      });
    }
  }

  /** Rejects with `usage` when the bucket is refused, `store-failed` while it does not answer. */
  async enter({ signal }: Signalled): Promise<Abilities> {
    if (this.#refusal !== undefined) throw this.#refusal;
    // One attempt for all who wait: a caller that leaves does not end it for the others.
    this.#entering ??= this.#ask(AbortSignal.timeout(ATTEMPT_MS_MAX)).finally(() => {
      this.#entering = undefined;
    });
    return await abortable(this.#entering, signal);
  }

  async #ask(signal: AbortSignal): Promise<Abilities> {
    try {
      await this.#requireSoundCredentials();
      const isMarked = await this.#isMarked(signal);
      if (isMarked) await this.#requireListing(signal);
      else await this.#requireEmpty(signal);
      const abilities = await probeServer(this.#retries, { signal });
      if (!isMarked) await this.#mark(abilities, signal);
      this.#abilities = abilities;
      return abilities;
    } catch (error) {
      if (isFailure(error, "usage")) this.#refusal = error;
      if (!signal.aborted || error instanceof WalarcError) throw error;
      const seconds = ATTEMPT_MS_MAX / 1000;
      throw new WalarcError("store-failed", `the bucket has not answered for ${seconds} s`);
    }
  }

  /** With a line break in a key, every request would fail in a way that nobody understands. */
  async #requireSoundCredentials(): Promise<void> {
    let keys: readonly string[];
    try {
      const { accessKeyId, secretAccessKey } = await this.#bucket.credentials();
      keys = [accessKeyId, secretAccessKey];
    } catch {
      return; // There are none now: the first request says so, and a later one may find some.
    }
    if (keys.every((key) => /^[\x21-\x7e]+$/.test(key))) return;
    const message = "the S3 credentials hold a space, a line break or another stray character";
    throw new WalarcError("usage", message, {
      hint: "Set the access key and the secret key again, without quotes and line breaks",
    });
  }

  async #isMarked(signal: AbortSignal): Promise<boolean> {
    const format = await this.#readFormat(signal);
    if (format === undefined) return false;
    if (format === FORMAT) return true;
    if (typeof format === "number") {
      throw new WalarcError("usage", `the store ${this.#place} has format ${format}`, {
        hint: `This walarc knows format ${FORMAT} and changed nothing; use the one that made it`,
      });
    }
    throw new WalarcError("usage", `${MARKER} in ${this.#place} does not tell the store's format`, {
      hint: `If it is a store of format ${FORMAT}, put {"format": ${FORMAT}} there`,
    });
  }

  /** `undefined` where there is no mark, `null` where it cannot be understood. */
  async #readFormat(signal: AbortSignal): Promise<unknown> {
    const budget = new MemoryBudget(MARKER_BYTES_MAX);
    const object = await openObject(this.#retries, MARKER, { budget, signal });
    if (object === undefined) return undefined;
    await using mark = object;
    const text = String(await mark.read(0, Math.min(mark.storedBytes, MARKER_BYTES_MAX)));
    if (!/^\s*</.test(text)) return formatIn(text);
    throw new WalarcError("store-failed", `a web page is answered for ${MARKER}`, {
      hint: "Check store.endpoint, and what stands between here and the server",
    });
  }

  /** Who may read and not list can take no push, and is to hear of it at the start. */
  async #requireListing(signal: AbortSignal): Promise<void> {
    await listPage(this.#retries, "clusters/", { keysMax: 1, signal });
  }

  async #requireEmpty(signal: AbortSignal): Promise<void> {
    const { objects } = await listPage(this.#retries, "", { keysMax: 100, signal });
    const foreign = objects.find(({ key }) => !key.startsWith(PROBES) && key !== MARKER);
    // Another daemon may have started at the same time, and archive already.
    if (foreign === undefined || (await this.#isMarked(signal))) return;
    const message = `${this.#place} is not a store of walarc, but is not empty`;
    throw new WalarcError("usage", message, {
      hint: `Set store.prefix to a place of its own. It holds "${foreign.key}" and no ${MARKER}`,
    });
  }

  async #mark(abilities: Abilities, signal: AbortSignal): Promise<void> {
    const body = bodyOf(`${JSON.stringify({ format: FORMAT })}\n`);
    const outcome = await new Creation(this.#retries, abilities).create({
      key: MARKER,
      body,
      signal,
    });
    if (outcome === "exists") await this.#isMarked(signal);
  }
}

function formatIn(text: string): unknown {
  try {
    const parsed: unknown = JSON.parse(text);
    return (parsed as { format?: unknown } | null)?.format ?? null;
  } catch {
    return null; // No JSON, so no format either.
  }
}

async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
