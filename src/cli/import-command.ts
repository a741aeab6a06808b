import { performance } from "node:perf_hooks";
import { WalarcError } from "../errors.ts";
import { requirePrograms } from "../import/content.ts";
import { type ImportTally, runImport } from "../import/run.ts";
import { type ImportSource, readSource } from "../import/source.ts";
import { formatBytes, formatCount } from "./columns.ts";
import { endpointOf } from "./endpoint.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { printOutput } from "./output.ts";
import { ImportProgress } from "./import-progress.ts";
import { printable, reportFailure } from "./report.ts";

const TIMEOUT_MS = 60_000;
/** Of each list in the text for people; `--json` has them whole. */
const LISTED_MAX = 20;

/**
 * `walarc import DIR`: takes over the WAL files of a plain archive directory, which stays as it is.
 * Resolves to the exit status: 0 when every WAL file in it is archived.
 */
export async function importCommand(args: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(args, {
      command: "import",
      positionals: ["DIR"],
      flags: { json: "boolean" },
    });
    const options = await resolveClientOptions(line);
    const [directory = ""] = line.positionals;
    const { signal } = new AbortController();
    const source = await readSource(directory, { signal });
    await requirePrograms(source.compressions);

    const tally: ImportTally = { imported: 0, alreadyArchived: 0, bytes: 0, refused: [] };
    const startMs = performance.now();
    const summary = async () => {
      const seconds = (performance.now() - startMs) / 1000;
      const text = line.switches.has("json")
        ? `${JSON.stringify(jsonOf(source, tally, seconds), undefined, 2)}\n`
        : formatSummary(source, tally, seconds);
      await printOutput(text);
    };
    using progress = new ImportProgress({ files: source.count });
    try {
      await runImport(source.files(), {
        endpoint: endpointOf(options),
        cluster: options.cluster,
        timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
        signal,
        tally,
        onProgress: () => progress.show(tally),
      });
    } catch (error) {
      progress.clear();
      await summary();
      throw again(error);
    }
    progress.clear();
    await summary();
    // A second content is what somebody must look at first.
    const refused = tally.refused.find(({ code }) => code === "conflict") ?? tally.refused[0];
    return refused === undefined
      ? 0
      : reportFailure("import", refusal(tally.refused.length, refused));
  } catch (error) {
    return reportFailure("import", error);
  }
}

function refusal(count: number, first: ImportTally["refused"][number]): WalarcError {
  const files = count === 1 ? "one file was" : `${count} files were`;
  return new WalarcError(
    first.code,
    `${files} refused, the first is ${first.file}: ${first.detail}`,
    {
      hint: "the others are archived; nothing was changed in the directory",
    },
  );
}

/** The same failure, with what it means for the import. */
function again(error: unknown): unknown {
  if (!(error instanceof WalarcError)) return error;
  const hint = "run it again: what is archived already is not sent a second time";
  return new WalarcError(error.code, error.message, { hint, cause: error });
}

function jsonOf(source: ImportSource, tally: ImportTally, seconds: number) {
  const { strangers, partials } = source;
  return { files: source.count, ...tally, seconds, strangers, partials };
}

function formatSummary(source: ImportSource, tally: ImportTally, seconds: number): string {
  const { imported, alreadyArchived, bytes, refused } = tally;
  const lines = [
    `${formatCount(imported, "file")} imported, ${alreadyArchived} archived already, ` +
      `${formatBytes(bytes)} in ${seconds.toFixed(1)} s`,
    ...listed("refused", refused, ({ file, code, detail }) => `${file}: ${code}: ${detail}`),
    ...listed("no WAL files, left out", source.strangers, (path) => path),
    ...listed("partial segments, left out", source.partials, (path) => path),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function listed<T>(title: string, list: readonly T[], format: (one: T) => string): string[] {
  if (list.length === 0) return [];
  const shown = list.slice(0, LISTED_MAX).map((one) => `  ${format(one)}`);
  const more = list.length - shown.length;
  return [`${title}: ${list.length}`, ...shown, ...(more > 0 ? [`  and ${more} more`] : [])];
}
