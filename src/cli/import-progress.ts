import { performance } from "node:perf_hooks";
import type { ImportTally } from "../import/run.ts";
import { formatAge, formatBytes } from "./columns.ts";
import { printError } from "./report.ts";

const REFRESH_MS = 250;
const BAR_CELLS = 24;
const CLEAR_LINE = "\r\u001b[K";

/** One line on standard error that tells how far an import is; none where nobody could see it. */
export class ImportProgress implements Disposable {
  readonly #files: number;
  readonly #isShown = process.stderr.isTTY;
  readonly #startMs = performance.now();
  #shownMs = 0;

  constructor(options: { readonly files: number }) {
    this.#files = options.files;
  }

  show({ imported, alreadyArchived, bytes, refused }: ImportTally): void {
    const nowMs = performance.now();
    if (!this.#isShown || nowMs - this.#shownMs < REFRESH_MS) return;
    this.#shownMs = nowMs;
    const done = imported + alreadyArchived + refused.length;
    const part = this.#files === 0 ? 1 : done / this.#files;
    const seconds = (nowMs - this.#startMs) / 1000;
    const bar = "#".repeat(Math.round(part * BAR_CELLS)).padEnd(BAR_CELLS, ".");
    const rate = `${(done / seconds).toFixed(1)} files/s, ${formatBytes(bytes / seconds)}/s`;
    const left = part === 0 ? "?" : formatAge((seconds * 1000 * (1 - part)) / part);
    printError(`${CLEAR_LINE}[${bar}] ${done}/${this.#files} files, ${rate}, ${left} left`);
  }

  clear(): void {
    if (this.#isShown) printError(CLEAR_LINE);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
