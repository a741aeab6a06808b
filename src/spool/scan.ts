import { Turns } from "../wal/turns.ts";
import { inParallel } from "./parallel.ts";
import type { Candidates } from "./candidates.ts";
import type { SpoolDirectory } from "./directory.ts";
import { type EntryName, entryName } from "./entry.ts";

/** WAL files known at once; their place is refilled from the directory by half. */
export const WINDOW_FILES = 4096;
/** Of entries that are no WAL files, which nobody should have many of. */
const OTHERS_MAX = 1000;
const LOOKS_AT_ONCE = 8;
/** Held entries beyond so many are looked at only when their time has come. */
const HELD_LOOKS_MAX = 1000;

export interface Scan {
  /** WAL files in the directory. */
  readonly files: number;
  /** Not all of them are known yet: they stand behind others. */
  readonly hasMore: boolean;
}

/**
 * Reads the directory once and takes a look at what is new: the WAL files next in turn, and what
 * else stands there. Costs one look per new entry, however many are waiting.
 */
export async function scanSpool(
  directory: SpoolDirectory,
  candidates: Candidates,
  options: { scan: number; nowMs: () => number; signal: AbortSignal },
): Promise<Scan> {
  const { scan, signal } = options;
  const turns = new Turns(WINDOW_FILES);
  const fresh: EntryName[] = [];
  let files = 0;
  for await (const text of directory.names({ signal })) {
    const known = candidates.get(text);
    const name = known?.name ?? entryName(text);
    if (name.kind === "furniture") continue;
    if (known !== undefined) known.scan = scan;
    if (name.kind === "wal") {
      files += 1;
      if (known?.held === undefined) turns.offer(text);
    } else if (known === undefined && fresh.length < OTHERS_MAX) fresh.push(name);
  }
  candidates.forgetUnmet(scan);
  const next = turns.inTurn();
  forgetOvertaken(candidates, next);
  for (const text of next) if (candidates.get(text) === undefined) fresh.push(entryName(text));
  const held = candidates.held();
  if (held.length <= HELD_LOOKS_MAX) fresh.push(...held.map(({ name }) => name));

  await inParallel(fresh, { width: LOOKS_AT_ONCE, signal }, (name) =>
    lookAt(directory, candidates, { ...options, name }),
  );
  return { files, hasMore: turns.passed > 0 };
}

/** Looks at one entry, and notes or forgets it. */
export async function lookAt(
  directory: SpoolDirectory,
  candidates: Candidates,
  options: { name: EntryName; scan?: number; nowMs: () => number },
): Promise<void> {
  const { name, scan = 0, nowMs } = options;
  const seen = await directory.look(name.text);
  if (seen === undefined) return candidates.forget(name.text);
  const writtenAgoMs = Date.now() - Number(seen.changedNs / 1_000_000n);
  candidates.note(name, seen, { nowMs: nowMs(), writtenAgoMs, scan });
}

/** Only when earlier names have filled the window. */
function forgetOvertaken(candidates: Candidates, next: readonly string[]): void {
  if (next.length < WINDOW_FILES) return;
  const kept = new Set(next);
  for (const { name, held } of candidates.all()) {
    if (name.kind === "wal" && held === undefined && !kept.has(name.text)) {
      candidates.forget(name.text);
    }
  }
}
