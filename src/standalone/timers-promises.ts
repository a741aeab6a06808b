/** Stands in for `node:timers/promises`. */

/** Resolves to `value` after `ms`; rejects with an `AbortError` when the signal comes first. */
export async function setTimeout<T>(
  ms: number,
  value: T,
  { signal }: { readonly signal: AbortSignal },
): Promise<T> {
  return await new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      const name = "AbortError";
      const error = new Error("The operation was aborted", { cause: signal.reason });
      reject(Object.assign(error, { name, code: "ABORT_ERR" }));
    };
    const timer = globalThis.setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve(value);
    }, ms);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
