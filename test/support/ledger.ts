import type { WalarcDaemon } from "./daemon.ts";
import { fetchWal, pushWal } from "./wal-http.ts";
import { type MadeFile, sha256Of } from "./wal-maker.ts";

/**
 * What was promised, kept where no fault of the store can reach it. Whatever happens to the daemon
 * and its disk, what it has acknowledged must come back byte by byte, and nothing else under that
 * name.
 */
export class Ledger {
  /** Name to digest. */
  readonly #acknowledged = new Map<string, string>();
  readonly #attempted = new Map<string, Set<string>>();

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  holds(name: string): boolean {
    return this.#acknowledged.has(name);
  }

  /**
   * Pushes a file of cluster "main" and notes a success. Resolves to the answer's status, or to
   * "broken" when none came: the file may be archived or not.
   */
  async push(file: MadeFile, daemon: WalarcDaemon): Promise<number | "broken"> {
    const digest = sha256Of(file.bytes);
    const attempts = this.#attempted.get(file.name) ?? new Set();
    this.#attempted.set(file.name, attempts.add(digest));
    let answer;
    try {
      answer = await pushWal(file, daemon);
    } catch {
      return "broken";
    }
    if (answer.status === 200 || answer.status === 201) {
      if (answer.sha256 !== digest) throw new Error(`${file.name}: acknowledged ${answer.sha256}`);
      this.#acknowledged.set(file.name, digest);
    }
    return answer.status;
  }

  /** Every promise that the daemon does not keep, in words. */
  async broken(daemon: WalarcDaemon): Promise<string[]> {
    const archived = new Set(await archivedNames(daemon));
    const faults: string[] = [];
    for (const name of this.#acknowledged.keys()) {
      if (!archived.has(name)) faults.push(`${name} was acknowledged and is not listed`);
    }
    for (const name of new Set([...archived, ...this.#acknowledged.keys()])) {
      faults.push(...(await this.#faultsOf(name, daemon)));
    }
    return faults;
  }

  async #faultsOf(name: string, daemon: WalarcDaemon): Promise<string[]> {
    const promised = this.#acknowledged.get(name);
    const { status, code, body } = await fetchWal(name, daemon);
    if (status !== 200) return [`${name} (${promised ?? "listed"}) was answered ${status} ${code}`];
    const digest = sha256Of(body);
    if (promised !== undefined && promised !== digest) return [`${name} came back changed`];
    if (this.#attempted.get(name)?.has(digest) !== true) return [`${name} was never pushed so`];
    return [];
  }
}

/** What the daemon lists of cluster "main". */
export async function archivedNames(daemon: WalarcDaemon): Promise<string[]> {
  const names: string[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const query = `limit=1000${after === "" ? "" : `&after=${after}`}`;
    const { status, body } = await daemon.get(`/v1/clusters/main/wal?${query}`);
    // None of its pushes has got so far yet; whoever was acknowledged anything will miss it.
    if (status === 404 && /"code":"unknown-cluster"/.test(String(body))) return [];
    if (status !== 200) throw new Error(`the listing was answered ${status} ${String(body)}`);
    const page = JSON.parse(String(body)) as { files: { name: string }[]; next: string | null };
    names.push(...page.files.map((file) => file.name));
    after = page.next;
  }
  return names;
}

/** Runs `work` for all items, `width` of them at once. */
export async function inParallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const workers = Array.from({ length: width }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(workers);
}
