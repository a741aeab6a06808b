/** Stands in for `node:child_process`: a process that goes on by itself. */
import type { BunApi } from "./bun.ts";

declare const Bun: BunApi;

interface Child {
  readonly pid: number;
  unref(): void;
  /** Never called: what cannot be started throws. */
  once(event: "error", listener: () => void): void;
}

/** The process has none of our open files. */
export function spawn(
  command: string,
  args: readonly string[],
  { stdio, env }: { readonly stdio: "ignore"; readonly env: NodeJS.ProcessEnv },
): Child {
  const child = Bun.spawn({ cmd: [command, ...args], stdio: [stdio, stdio, stdio], env });
  return { pid: child.pid, unref: () => child.unref(), once: () => {} };
}
