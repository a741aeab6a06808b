/** Putting objects, so that an answer is believed only as far as it proves something. */
import { randomUUID } from "node:crypto";
import { WalarcError } from "../../errors.ts";
import type { ObjectMetadata } from "../../object/metadata.ts";
import { BrokenAnswer, isMissing, isPreconditionFailure, requireEtag } from "./failure.ts";
import type { Attempt, Retries } from "./retries.ts";
import type { Answered, Body, Found, PutConditions } from "./wire.ts";

/** What this server was seen to do (`probe.ts`). */
export interface Abilities {
  /** `x-amz-checksum-sha256` is taken, checked and echoed. */
  readonly checksum: boolean;
  /** How `If-Match` on a put wants an ETag, where it is honoured: as it was told, or unquoted. */
  readonly ifMatch: "quoted" | "bare" | undefined;
  /** DeleteObjects. */
  readonly removeMany: boolean;
}

export interface Put {
  readonly key: string;
  readonly body: Body;
  /** What the object says about itself, where it is an archived WAL file. */
  readonly describes?: ObjectMetadata | undefined;
  readonly signal: AbortSignal;
}

const DIGEST = "stored-sha256";
const PUT_ID = "put";

const ETAG = /^"?[0-9A-Za-z-]{8,}"?$/;
const ETAG_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e";

/** Puts objects into one bucket whose abilities are known. */
export class Creation {
  readonly #retries: Retries;
  readonly #abilities: Abilities;

  constructor(retries: Retries, abilities: Abilities) {
    this.#retries = retries;
    this.#abilities = abilities;
  }

  /** One request, where all goes well. Rejects with `store-failed`. */
  async create(put: Put): Promise<"created" | "exists"> {
    const mark = markOf(put);
    return await this.#run(`publish "${put.key}"`, put, async (attempt) => {
      const conditions = { ifNoneMatch: "*" } as const;
      const outcome = await this.#attempt(attempt, { ...put, mark, conditions });
      if (outcome === "done") return "created";
      // The server says that the key is taken: by us, when an earlier answer was lost.
      const owner = await ownerOf(attempt, put.key, mark);
      if (owner === "nobody")
        throw new BrokenAnswer("it says that the key is taken, and it is not");
      return owner === "us" ? "created" : "exists";
    });
  }

  /** Puts an object in the place of any other, or of none. */
  async replace(put: Put): Promise<void> {
    const mark = markOf(put);
    await this.#run(`replace "${put.key}"`, put, async (attempt) => {
      await this.#attempt(attempt, { ...put, mark, conditions: {} });
    });
  }

  /** Puts an object in the place of exactly this one, where the server can tell. */
  async replaceExactly(put: Put, etag: string | undefined): Promise<void> {
    const mark = markOf(put);
    const conditions = { ifMatch: etagAs(this.#abilities.ifMatch, etag) };
    await this.#run(`repair "${put.key}"`, put, async (attempt) => {
      if ((await this.#attempt(attempt, { ...put, mark, conditions })) === "done") return;
      if ((await ownerOf(attempt, put.key, mark)) === "us") return;
      throw new WalarcError("store-failed", `"${put.key}" changed while it was being repaired`, {
        hint: "Another daemon was faster: PostgreSQL pushes again by itself",
      });
    });
  }

  async #run<T>(doing: string, put: Put, step: (attempt: Attempt) => Promise<T>): Promise<T> {
    const { signal, body } = put;
    return await this.#retries.run(doing, step, { signal, sizeBytes: body.sizeBytes });
  }

  /** `done` once the answer proves it, or the object itself does; `refused` by the condition. */
  async #attempt(
    attempt: Attempt,
    put: Put & { mark: Mark; conditions: Omit<PutConditions, "hasChecksum"> },
  ): Promise<"done" | "refused"> {
    const { key, body, mark, conditions } = put;
    const { signal } = attempt;
    const hasChecksum = this.#abilities.checksum;
    let answer: Answered;
    try {
      answer = await attempt.request("put", (bucket) => {
        return bucket.put(key, body, { ...conditions, hasChecksum, metadata: mark, signal });
      });
    } catch (error) {
      if (isPreconditionFailure(error)) return "refused";
      throw error;
    }
    if (this.#isProof(answer, body)) return "done";
    if ((await ownerOf(attempt, key, mark)) === "us") return "done";
    throw new BrokenAnswer("it reports success and has not stored the object");
  }

  /**
   * The server has checked the digest in the signature. That it was such a server which answered,
   * and not something in between, shows in the digest echoed or, on older ones, in an ETag.
   */
  #isProof({ etag = "", sha256 }: Answered, body: Body): boolean {
    if (this.#abilities.checksum) return sha256 === body.sha256;
    return ETAG.test(etag) && (body.sizeBytes === 0 || !etag.includes(ETAG_OF_NOTHING));
  }
}

/** What to send, where it is honoured; Ceph compares it with its own, which has no quotes. */
export function etagAs(form: Abilities["ifMatch"], etag: string | undefined): string | undefined {
  if (form === undefined || etag === undefined) return undefined;
  const bare = etag.replaceAll('"', "");
  return form === "bare" ? bare : `"${bare}"`;
}

/** User metadata, by which a put recognizes its object whatever became of the answer. */
type Mark = Record<string, string>;

function markOf({ body, describes }: Put): Mark {
  return {
    [PUT_ID]: randomUUID(),
    [DIGEST]: body.sha256,
    ...(describes === undefined
      ? {}
      : { sha256: describes.sha256, size: String(describes.sizeBytes) }),
  };
}

/** The digest of all the object's bytes, where nothing else in it would show damage. */
export function digestToCheck({ metadata }: Found): string | undefined {
  return metadata["sha256"] === undefined ? metadata[DIGEST] : undefined;
}

/** The digest of the archived WAL file, as its object was marked with it. */
export function notedDigest({ metadata }: Found): string | undefined {
  const noted = metadata["sha256"] ?? "";
  return /^[0-9a-f]{64}$/.test(noted) ? noted : undefined;
}

async function ownerOf(
  attempt: Attempt,
  key: string,
  mark: Mark,
): Promise<"us" | "somebody" | "nobody"> {
  const { signal } = attempt;
  try {
    const found = await attempt.request("head", (bucket) => bucket.head(key, { signal }));
    const { metadata } = requireEtag(found);
    return [PUT_ID, DIGEST].every((name) => metadata[name] === mark[name]) ? "us" : "somebody";
  } catch (error) {
    if (isMissing(error)) return "nobody";
    throw error;
  }
}
