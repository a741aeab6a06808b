import type { ArchivedFile, Page } from "../archive/listing.ts";
import { WalarcError } from "../errors.ts";
import { formatBytes } from "./columns.ts";
import { inquire } from "./inquiry.ts";
import { type ClientOptions, parseCommandLine, resolveClientOptions } from "./options.ts";
import { printOutput } from "./output.ts";
import { printable, reportFailure } from "./report.ts";

const PAGE_FILES = 1000;

/**
 * `walarc ls`: the archived WAL files by name, a line each, or with `--json` one document of all
 * pages. An archive can be large, so pages are printed as they come, and the deadline is for each
 * page. Resolves to the exit status.
 */
export async function lsCommand(args: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(args, {
      command: "ls",
      positionals: [],
      flags: { json: "boolean" },
    });
    const options = await resolveClientOptions(line);
    if (line.switches.has("json")) await printJson(pagesOf(options));
    else await printTable(pagesOf(options));
    return 0;
  } catch (error) {
    return reportFailure("ls", error);
  }
}

async function* pagesOf(options: ClientOptions): AsyncGenerator<readonly ArchivedFile[]> {
  let after: string | null = null;
  do {
    const from: string = after === null ? "" : `&after=${after}`;
    const path = `/v1/clusters/${options.cluster}/wal?limit=${PAGE_FILES}${from}`;
    const page: Page = await inquire(options, { path, isExpected: isPage });
    if (after !== null && page.next !== null && page.next <= after) {
      throw new WalarcError("unreachable", `the page after ${after} leads back to ${page.next}`);
    }
    yield page.files;
    after = page.next;
  } while (after !== null);
}

/** Wide enough for the longest name, a backup history file's. */
const WIDTHS = [40, 8, 8, 8] as const;

async function printTable(pages: AsyncIterable<readonly ArchivedFile[]>): Promise<void> {
  let heading = formatRow(["NAME", "KIND", "SIZE", "STORED", "ARCHIVED AT"]);
  for await (const files of pages) {
    await printOutput(heading + files.map(formatFile).join(""));
    heading = "";
  }
}

function formatFile(file: ArchivedFile): string {
  return formatRow([
    file.name,
    file.kind,
    file.sizeBytes === null ? "-" : formatBytes(file.sizeBytes),
    formatBytes(file.storedBytes),
    file.archivedAt ?? "DAMAGED",
  ]);
}

function formatRow(cells: readonly string[]): string {
  return `${cells.map((cell, index) => printable(cell).padEnd(WIDTHS[index] ?? 0)).join("  ")}\n`;
}

/** One file a line, which reads well and is still one document. */
async function printJson(pages: AsyncIterable<readonly ArchivedFile[]>): Promise<void> {
  let start = '{"files": [\n  ';
  for await (const files of pages) {
    if (files.length === 0) continue;
    await printOutput(start + files.map((file) => JSON.stringify(file)).join(",\n  "));
    start = ",\n  ";
  }
  const isEmpty = start.startsWith("{");
  await printOutput(isEmpty ? '{"files": [], "next": null}\n' : '\n], "next": null}\n');
}

function isPage(answer: unknown): answer is Page {
  const { files, next } = (answer ?? {}) as Record<string, unknown>;
  const isName = typeof next === "string" && /^[0-9A-Za-z.]+$/.test(next);
  return Array.isArray(files) && (next === null || isName);
}
