import { watch } from "chokidar";

/**
 * Rings when something may have happened in the directory. It saves waiting, no more: it may miss,
 * merge or repeat, and whoever it wakes looks for himself. So it is told to look at no entry: with
 * a hundred thousand of them, that alone would cost more than to read their names now and then.
 */
export function watchSpool(
  directory: string,
  options: { ring: () => void; log: { warn(fields: object, message: string): void } },
): AsyncDisposable {
  const { ring, log } = options;
  const watcher = watch(directory, {
    depth: 0,
    ignoreInitial: true,
    atomic: false,
    ignored: (path) => path !== directory,
  });
  watcher.on("raw", ring);
  watcher.on("all", ring);
  watcher.on("error", (error) => {
    log.warn({ spool: directory, err: error }, "spool not watched, only looked at now and then");
  });
  return { [Symbol.asyncDispose]: () => watcher.close() };
}
