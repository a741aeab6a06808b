import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { LoopMount } from "./loop-mount.ts";

/** Where a modelled writer keeps its word, or does not. */
export interface Place {
  readonly directory: string;
  /** The final path; readers see only this. */
  readonly target: string;
  /** A file that the writer may remove once the target holds its content. */
  readonly source: string;
  readonly content: Buffer;
}

/**
 * A writer, step by step: it yields after each one, and the power may fail at every yield. From
 * "acknowledged" on its caller relies on the target.
 */
export type Writer = (place: Place) => Generator<"working" | "acknowledged", void>;

/**
 * What a cut can reveal: an acknowledged file that is gone, a name that shows something other than
 * the whole content, a source that is gone before its copy is there.
 */
export type Loss = "acknowledged file lost" | "torn file visible" | "source lost";

/**
 * Runs the writer once per step and cuts the power right after that step: once as it is, and once
 * after somebody else's fsync, which makes some of the writer's calls durable before others.
 * Returns what was lost at least once.
 */
export async function lossesOf(writer: Writer, mount: LoopMount): Promise<Set<Loss>> {
  const losses = new Set<Loss>();
  for (const neighbour of ["silent", "syncing"] as const) {
    for (let steps = 1; ; steps++) {
      const place = preparePlace(mount.path);
      const run = runSteps(writer(place), steps);
      if (neighbour === "syncing") syncFile(join(mount.path, "neighbour"));
      await mount.cutPower();
      collectLosses(losses, place, run);
      if (run.ended) break;
    }
  }
  return losses;
}

interface Run {
  readonly acknowledged: boolean;
  readonly ended: boolean;
}

function runSteps(writing: ReturnType<Writer>, steps: number): Run {
  let acknowledged = false;
  for (let step = 0; step < steps; step++) {
    const { value, done } = writing.next();
    if (done) return { acknowledged, ended: true };
    acknowledged ||= value === "acknowledged";
  }
  return { acknowledged, ended: false };
}

/** A durable directory with a durable source in it, as the writer may expect. */
function preparePlace(root: string): Place {
  const directory = mkdtempSync(join(root, "place-"));
  const content = Buffer.alloc(200_000, directory);
  const source = join(directory, "source");
  writeWhole(source, content);
  for (const path of [source, directory, root]) syncPath(path);
  return { directory, target: join(directory, "target"), source, content };
}

function collectLosses(losses: Set<Loss>, place: Place, run: Run): void {
  const isWhole = existsSync(place.target) && place.content.equals(readFileSync(place.target));
  if (existsSync(place.target) && !isWhole) losses.add("torn file visible");
  if (run.acknowledged && !isWhole) losses.add("acknowledged file lost");
  if (!isWhole && !existsSync(place.source)) losses.add("source lost");
  rmSync(place.directory, { recursive: true, force: true });
}

/** Writes and does not sync. */
export function writeWhole(path: string, content: Buffer): void {
  const file = openSync(path, "wx");
  for (let at = 0; at < content.length; ) at += writeSync(file, content, at);
  closeSync(file);
}

/** Makes a file's content, or a directory's names, durable. */
export function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Some other program's write and fsync in the same file system. */
function syncFile(path: string): void {
  const file = openSync(path, "a");
  writeSync(file, "x");
  fsyncSync(file);
  closeSync(file);
}
