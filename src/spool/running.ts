import { isFailure } from "../errors.ts";
import { startLoop } from "../lifecycle.ts";
import type { SpoolOptions } from "./handling.ts";
import { Spool } from "./spool.ts";
import { watchSpool } from "./watcher.ts";

/** Between two looks at a spool in which nothing seems to happen: the watcher may miss things. */
const LOOK_MS = 30_000;
/** Between two tries while the archive takes nothing, or the directory is away. */
const RETRY_MS_MAX = 15_000;

export interface RunningSpool extends AsyncDisposable {
  readonly spool: Spool;
}

/**
 * Drains a spool until disposed. Rejects with `usage` when nobody should drain the directory. One
 * that is not there or may not be read is tried again and again, so that a file system mounted late
 * keeps no daemon from serving.
 */
export async function startSpool(options: SpoolOptions): Promise<RunningSpool> {
  const spool = new Spool(options);
  await spool.requireUsable().catch((error: unknown) => {
    if (!isFailure(error, "local")) throw error;
    options.log.warn({ spool: spool.path, err: error }, "spool cannot be used yet");
  });

  const stack = new AsyncDisposableStack();
  let isWatched = false;
  let alarm: NodeJS.Timeout | undefined;
  const loop = startLoop(
    async (signal) => {
      clearTimeout(alarm);
      await spool.step(signal);
      if (spool.dueInMs < LOOK_MS) alarm = setTimeout(ring, Math.max(0, spool.dueInMs) + 1);
      // Not before a backlog is drained: to begin with, the watcher reads the whole directory.
      if (isWatched || signal.aborted) return;
      isWatched = true;
      stack.use(watchSpool(spool.path, { ring, log: options.log }));
      ring();
    },
    {
      name: `spool ${spool.path}`,
      intervalMs: LOOK_MS,
      retryMsMax: RETRY_MS_MAX,
      log: options.log,
    },
  );
  function ring(): void {
    spool.ring();
    loop.ring();
  }
  return {
    spool,
    [Symbol.asyncDispose]: async () => {
      await loop[Symbol.asyncDispose]();
      clearTimeout(alarm);
      await stack.disposeAsync();
      spool[Symbol.dispose]();
    },
  };
}
