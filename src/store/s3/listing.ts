/** Keys in order, page by page. */
import { isClusterName } from "../key.ts";
import type { ListedObject, Signalled } from "../store.ts";
import { BrokenAnswer } from "./failure.ts";
import type { Retries } from "./retries.ts";
import type { ListPage } from "./wire.ts";

const HIDDEN = /^clusters\/[^/]+\/(?:tmp|damaged)\//;
const CLUSTERS = "clusters/";

/** A longer listing is read in several places at once. */
const PAGES_ALONE_MAX = 4;
const PARTS_AT_ONCE = 8;
const WAL_PREFIX = /^clusters\/[^/]+\/wal\/$/;

type Objects = ListPage["objects"];

/** What is set aside as damaged does not show. The next pages are asked for while one is read. */
export async function* listObjects(
  retries: Retries,
  prefix: string,
  { signal, after }: Signalled & { after?: string },
): AsyncGenerator<ListedObject, void, void> {
  const left = new AbortController();
  const listing = new Listing(retries, prefix, AbortSignal.any([signal, left.signal]));
  try {
    for await (const objects of listing.pages(after)) {
      for (const object of objects) if (!HIDDEN.test(object.key)) yield object;
    }
  } finally {
    left.abort(new Error("nobody reads on"));
  }
}

class Listing {
  readonly #retries: Retries;
  readonly #prefix: string;
  readonly #signal: AbortSignal;

  constructor(retries: Retries, prefix: string, signal: AbortSignal) {
    this.#retries = retries;
    this.#prefix = prefix;
    this.#signal = signal;
  }

  async *pages(after: string | undefined): AsyncGenerator<Objects, void, void> {
    let page: Promise<ListPage> | undefined = this.#ask(after === undefined ? {} : { after });
    for (let read = 1; page !== undefined; read += 1) {
      const { objects, next }: ListPage = await page;
      const isLong = read === PAGES_ALONE_MAX && WAL_PREFIX.test(this.#prefix);
      page = next === undefined || isLong ? undefined : this.#ask({ token: next });
      yield objects;
      if (next !== undefined && isLong) yield* this.#parts(objects);
    }
  }

  /** All that comes after a page, in parts that are asked for side by side and come in order. */
  async *#parts(last: Objects): AsyncGenerator<Objects, void, void> {
    const starts = await this.#startsAfter(last);
    const asked: Promise<Objects>[] = [];
    for (let at = 0; at < starts.length; at += 1) {
      while (asked.length < Math.min(starts.length, at + PARTS_AT_ONCE)) {
        const part = this.#part(starts[asked.length] ?? "", starts[asked.length + 1]);
        part.catch(() => {}); // Heard when its turn comes, unless the reader leaves before.
        asked.push(part);
      }
      const part = asked[at];
      // Forgotten as soon as it is read: a million keys are not to stay in memory.
      asked[at] = NOTHING;
      if (part !== undefined) yield await part;
    }
  }

  /** Where parts of at most a page begin: at every so manieth log, as full as the fullest seen. */
  async #startsAfter(last: Objects): Promise<string[]> {
    const lastKey = last.at(-1)?.key ?? this.#prefix;
    const keysOfLogs = new Map<string, number>();
    for (const { key } of last) {
      const log = key.slice(0, key.lastIndexOf("/"));
      keysOfLogs.set(log, (keysOfLogs.get(log) ?? 0) + 1);
    }
    const step = Math.max(1, Math.floor(last.length / Math.max(1, ...keysOfLogs.values())));
    const starts = [lastKey];
    for (const timeline of await listPrefixes(this.#retries, this.#prefix, this.#signal)) {
      if (`${timeline}~` < lastKey) continue;
      const logs = await listPrefixes(this.#retries, timeline, this.#signal);
      const rest = logs.filter((log) => log > lastKey);
      starts.push(...rest.filter((_, index) => index % step === 0));
    }
    return starts;
  }

  /** Keys after `start` and before `end`. */
  async #part(start: string, end: string | undefined): Promise<Objects> {
    const part: Objects[number][] = [];
    let from: { after: string } | { token: string } | undefined = { after: start };
    while (from !== undefined) {
      const { objects, next }: ListPage = await this.#ask(from);
      const inside = end === undefined ? objects : objects.filter(({ key }) => key < end);
      part.push(...inside);
      from = next === undefined || inside.length < objects.length ? undefined : { token: next };
    }
    return part;
  }

  #ask(from: { after?: string; token?: string }): Promise<ListPage> {
    const page = listPage(this.#retries, this.#prefix, { ...from, signal: this.#signal });
    page.catch(() => {}); // As above.
    return page;
  }
}

const NOTHING: Promise<Objects> = Promise.resolve([]);

/** Names of the clusters that have objects, ascending. */
export async function listClusters(retries: Retries, { signal }: Signalled): Promise<string[]> {
  const prefixes = await listPrefixes(retries, CLUSTERS, signal);
  // Sorted once more: "main-2/" comes before "main/", and "main" before "main-2".
  return prefixes
    .map((prefix) => prefix.slice(CLUSTERS.length, -1))
    .filter(isClusterName)
    .sort();
}

/** What stands for directories below a prefix, in order, each with its `/`. */
async function listPrefixes(
  retries: Retries,
  below: string,
  signal: AbortSignal,
): Promise<string[]> {
  const prefixes: string[] = [];
  let token: string | undefined;
  do {
    const from = token === undefined ? {} : { token };
    const page = await listPage(retries, below, { ...from, delimiter: "/", signal });
    prefixes.push(...page.prefixes);
    token = page.next;
  } while (token !== undefined);
  return prefixes.sort();
}

/**
 * One page. An answer that is no listing, or does not say how it goes on, is refused: a listing
 * that ends early would make walarc believe that WAL is missing.
 */
export async function listPage(
  retries: Retries,
  prefix: string,
  options: Signalled & { after?: string; token?: string; delimiter?: string; keysMax?: number },
): Promise<ListPage> {
  const { signal: caller, ...rest } = options;
  return await retries.run(
    `list "${prefix}"`,
    async (attempt) => {
      const { signal } = attempt;
      const page = await attempt.request("list", (bucket) => {
        return bucket.list(prefix, { ...rest, signal });
      });
      if (page.isTruncated === undefined) throw new BrokenAnswer("its answer is no listing");
      if (!page.isTruncated) return { ...page, next: undefined };
      if (page.next !== undefined) return page;
      throw new BrokenAnswer("its listing does not tell where it goes on");
    },
    { signal: caller },
  );
}
