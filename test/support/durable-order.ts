import { dirname } from "node:path";
import type { TracedCall } from "./strace.ts";

/** The calls that the order of a push is made of. */
export const PUSH_CALLS = [
  "openat",
  "write",
  "writev",
  "pwrite64",
  "pwritev",
  "sendto",
  "sendmsg",
  "fsync",
  "fdatasync",
  "link",
  "linkat",
  "rename",
  "renameat",
  "renameat2",
  "mkdir",
  "mkdirat",
] as const;

/** What a trace tells of one object's way into the store. */
export interface PushTrace {
  /** The first byte of a 2xx on its way to the client. */
  readonly answer: TracedCall;
  /** The call that gave the object its name, unless it had it. */
  readonly publish: TracedCall | undefined;
  /** Under which name it was written, and with which calls. */
  readonly stagedPath: string | undefined;
  readonly writes: readonly TracedCall[];
  readonly madeDirectories: readonly TracedCall[];
}

export function readPushTrace(calls: readonly TracedCall[], objectPath: string): PushTrace {
  const answer = calls.find(isGoodAnswer);
  if (answer === undefined) {
    throw new Error(`no 2xx among ${calls.length} calls:\n${describeCalls(calls)}`);
  }
  const { publish, stagedPath } = readPublishing(calls, objectPath);
  const writes = calls.filter((call) => /write/.test(call.name) && fileOf(call) === stagedPath);
  const madeDirectories = calls.filter((call) => {
    const [path] = pathsOf(call);
    return call.name.startsWith("mkdir") && call.result === "0" && path !== undefined;
  });
  return { answer, publish, stagedPath, writes, madeDirectories };
}

/** The call that gave the object its name, and the name that it had before. */
export function readPublishing(
  calls: readonly TracedCall[],
  objectPath: string,
): Pick<PushTrace, "publish" | "stagedPath"> {
  const publish = calls.find((call) => {
    const isNaming = /^(?:link|rename)/.test(call.name) && call.result === "0";
    return isNaming && pathsOf(call)[1] === objectPath;
  });
  return { publish, stagedPath: publish === undefined ? undefined : pathsOf(publish)[0] };
}

/**
 * What is wrong with the order of the calls, in words; nothing when a power cut at any moment after
 * the answer finds the object under its name: its bytes are synced before it is published, and its
 * directory after that, and the parent of each directory that was made for it, all before the first
 * byte of the answer.
 */
export function orderFaults(calls: readonly TracedCall[], objectPath: string): string[] {
  const trace = readPushTrace(calls, objectPath);
  const { answer, publish, stagedPath, writes } = trace;
  const faults: string[] = [];
  const require = (what: string, path: string, after: number, before: number) => {
    const found = syncsOf(calls, path).some((call) => call.began > after && call.ended < before);
    if (!found) faults.push(`${what} was not synced in time: ${path}`);
  };

  if (publish === undefined || stagedPath === undefined) {
    require("the object that was there", objectPath, -1, answer.began);
    require("its directory", dirname(objectPath), -1, answer.began);
    return faults;
  }
  if (writes.length === 0) faults.push(`nothing was written to ${stagedPath}`);
  const written = Math.max(-1, ...writes.map((call) => call.ended));
  require("the staged file", stagedPath, written, publish.began);
  require("the directory of the name", dirname(objectPath), publish.ended, answer.began);
  for (const made of trace.madeDirectories) {
    const [path = ""] = pathsOf(made);
    if (!objectPath.startsWith(`${path}/`)) continue;
    require("the parent of a new directory", dirname(path), made.ended, answer.began);
  }
  return faults;
}

/** Successful syncs of a file or directory. */
export function syncsOf(calls: readonly TracedCall[], path: string): TracedCall[] {
  return calls.filter((call) => {
    return /^f(?:data)?sync$/.test(call.name) && call.result === "0" && fileOf(call) === path;
  });
}

/** The trace without what says nothing about the order, for an error message. */
export function describeCalls(calls: readonly TracedCall[]): string {
  return calls
    .filter((call) => !call.args.includes("[eventfd]"))
    .map((call) => `${call.thread} ${call.name}(${call.args.slice(0, 300)}) = ${call.result}`)
    .join("\n");
}

/** What the descriptor that is a call's first argument stands for. */
export function fileOf(call: TracedCall): string | undefined {
  return /^\d+<([^>]*)>/.exec(call.args)?.[1];
}

function isGoodAnswer(call: TracedCall): boolean {
  return /^(?:write|writev|sendto|sendmsg)$/.test(call.name) && /"HTTP\/1\.1 2\d\d/.test(call.args);
}

function pathsOf(call: TracedCall): string[] {
  return [...call.args.matchAll(/"([^"]*)"/g)].map(([, path]) => path ?? "");
}
