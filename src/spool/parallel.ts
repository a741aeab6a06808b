/**
 * Runs `work` for all items, `width` of them at once, in their order. Rejects with the first
 * failure, when all that was under way has ended; nothing more is begun then, nor after an abort.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  options: { width: number; signal: AbortSignal; goesOn?: () => boolean },
  work: (item: T, worker: number) => Promise<void>,
): Promise<void> {
  const { width, signal, goesOn = () => true } = options;
  const queue = items[Symbol.iterator]();
  let hasFailed = false;
  const worker = async (number: number): Promise<void> => {
    while (!hasFailed && goesOn()) {
      signal.throwIfAborted();
      const next = queue.next();
      if (next.done === true) return;
      try {
        await work(next.value, number);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: width }, (_, at) => worker(at)));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}
