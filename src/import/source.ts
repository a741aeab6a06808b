/** What a directory holds that an import can take. */
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { WalarcError } from "../errors.ts";
import { parseWalName, type WalName } from "../wal/name.ts";

export const COMPRESSIONS = ["gz", "zst", "lz4", "bz2", "xz"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** One file to import. */
export interface ImportFile {
  readonly path: string;
  readonly name: WalName;
  readonly compression: Compression | undefined;
}

/** The files of one directory; only their names are kept, so that millions fit into memory. */
interface Shelf {
  readonly directory: string;
  readonly files: readonly string[];
}

export interface ImportSource {
  /** History files first: a recovery chooses its timeline by them. Then by directory and name. */
  files(): Iterable<ImportFile>;
  readonly count: number;
  readonly compressions: ReadonlySet<Compression>;
  /** Relative paths of what is no WAL file. */
  readonly strangers: readonly string[];
  /** Relative paths of partial segments: what pg_receivewal is writing, or a promotion left. */
  readonly partials: readonly string[];
}

const COMPRESSED = new RegExp(`^(.+)\\.(${COMPRESSIONS.join("|")})$`);
const PARTIAL = new RegExp(`^[0-9A-F]{24}(?:\\.(?:${COMPRESSIONS.join("|")}))?\\.partial`);
/** PostgreSQL's own, where somebody imports a `pg_wal`. */
const PASSED_OVER: ReadonlySet<string> = new Set(["archive_status", "summaries", "lost+found"]);

/** Reads all names below `root`. Follows no links, opens nothing. Rejects with `local`. */
export async function readSource(
  root: string,
  options: { readonly signal: AbortSignal },
): Promise<ImportSource> {
  const shelves: Shelf[] = [];
  const strangers: string[] = [];
  const partials: string[] = [];
  const compressions = new Set<Compression>();
  const histories: ImportFile[] = [];
  const directories = [root];
  for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
    const directory = at;
    options.signal.throwIfAborted();
    const files: string[] = [];
    for (const entry of await entriesOf(directory)) {
      const path = join(directory, entry.name);
      if (PASSED_OVER.has(entry.name)) continue;
      if (entry.isDirectory()) directories.push(path);
      else if (PARTIAL.test(entry.name)) partials.push(relative(root, path));
      else {
        const file = entry.isFile() ? importFile(directory, entry.name) : undefined;
        if (file === undefined) strangers.push(relative(root, path));
        else if (file.name.kind === "history") histories.push(file);
        else files.push(entry.name);
        if (file?.compression !== undefined) compressions.add(file.compression);
      }
    }
    shelves.push({ directory, files: files.sort() });
  }
  shelves.sort((one, other) => (one.directory < other.directory ? -1 : 1));
  histories.sort((one, other) => (one.name.text < other.name.text ? -1 : 1));
  const count = shelves.reduce((sum, { files }) => sum + files.length, histories.length);
  const files = () => inTurn(histories, shelves);
  return { files, count, compressions, strangers: strangers.sort(), partials: partials.sort() };
}

function* inTurn(
  histories: readonly ImportFile[],
  shelves: readonly Shelf[],
): Generator<ImportFile, void, void> {
  yield* histories;
  for (const { directory, files } of shelves) {
    for (const text of files) {
      const file = importFile(directory, text);
      if (file !== undefined) yield file;
    }
  }
}

function importFile(directory: string, text: string): ImportFile | undefined {
  const [, base = text, compression] = COMPRESSED.exec(text) ?? [];
  const name = parseWalName(base);
  if (name === undefined) return undefined;
  return { path: join(directory, text), name, compression: compression as Compression | undefined };
}

async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("local", `cannot read ${JSON.stringify(directory)}: ${why}`, {
      cause: error,
    });
  }
}
