/** Keys in order, page by page. */
import { isClusterName } from "../key.ts";
import type { ListedObject, Signalled } from "../store.ts";
import { BrokenAnswer } from "./failure.ts";
import type { Retries } from "./retries.ts";
import type { ListPage } from "./wire.ts";

const HIDDEN = /^clusters\/[^/]+\/(?:tmp|damaged)\//;
const CLUSTERS = "clusters/";

/** What is set aside as damaged does not show. The next page is asked for while one is read. */
export async function* listObjects(
  retries: Retries,
  prefix: string,
  { signal, after }: Signalled & { after?: string },
): AsyncGenerator<ListedObject, void, void> {
  const left = new AbortController();
  const either = AbortSignal.any([signal, left.signal]);
  const start = after === undefined ? {} : { after };
  const ask = (from: { after?: string; token?: string }): Promise<ListPage> => {
    const page = listPage(retries, prefix, { ...from, signal: either });
    page.catch(() => {}); // Heard when its turn comes, unless the reader leaves before.
    return page;
  };
  try {
    let page: Promise<ListPage> | undefined = ask(start);
    while (page !== undefined) {
      const { objects, next }: ListPage = await page;
      page = next === undefined ? undefined : ask({ token: next });
      for (const object of objects) if (!HIDDEN.test(object.key)) yield object;
    }
  } finally {
    left.abort(new Error("nobody reads on"));
  }
}

/** Names of the clusters that have objects, ascending. */
export async function listClusters(retries: Retries, { signal }: Signalled): Promise<string[]> {
  const names: string[] = [];
  let token: string | undefined;
  do {
    const from = token === undefined ? {} : { token };
    const page = await listPage(retries, CLUSTERS, { ...from, delimiter: "/", signal });
    names.push(...page.prefixes.map((prefix) => prefix.slice(CLUSTERS.length, -1)));
    token = page.next;
  } while (token !== undefined);
  return names.filter(isClusterName).sort();
}

/**
 * One page. An answer that is no listing, or does not say how it goes on, is refused: a listing that
 * ends early would make walarc believe that WAL is missing.
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
