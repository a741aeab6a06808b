/** What a push checks of a WAL file's content while it streams by (contract, section 4). */
import { WalarcError } from "../errors.ts";
import { parseBackupHistory } from "../wal/backup-history.ts";
import { checkFirstPage, FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import { parseHistory, type TimelineHistory } from "../wal/history.ts";
import type { WalName } from "../wal/name.ts";
import { isSegmentSize } from "../wal/segment.ts";
import { type Binding, joinBindings, UNBOUND } from "./binding.ts";

/** History and backup history files are a few hundred bytes; a reason or label may be long. */
const TEXT_BYTES_MAX = 1024 * 1024;

/** What the content told. */
export interface Findings {
  binding: Binding;
  history: TimelineHistory | undefined;
}

export interface CheckOptions {
  readonly cluster: string;
  readonly binding: Binding;
  /** Length of the body where the caller told it. */
  readonly sizeBytes: number | undefined;
}

/** Refuses a length that no content could make right, before any of it is read. */
export function checkLength(name: WalName, options: CheckOptions): void {
  const { sizeBytes, binding } = options;
  if (sizeBytes === undefined) return;
  if (name.kind === "history" || name.kind === "backup") {
    if (sizeBytes > TEXT_BYTES_MAX) throw tooLong(name, TEXT_BYTES_MAX);
    return;
  }
  const segmentSizeBytes = binding.segmentSizeBytes;
  if (segmentSizeBytes === undefined) {
    if (!isSegmentSize(sizeBytes)) {
      throw rejected(
        `${name.text} is ${sizeBytes} bytes, and no segment size of PostgreSQL is`,
        "was the file cut? segments are 1 MB to 1 GB, a power of two",
      );
    }
    return;
  }
  if (sizeBytes > segmentSizeBytes) throw tooLong(name, segmentSizeBytes);
  if (sizeBytes < segmentSizeBytes) throw tooShort(name, sizeBytes, segmentSizeBytes);
}

/** The same bytes, of which nothing passes before it proved to be of this cluster and this name. */
export async function* checkBody(
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: CheckOptions & { found: (findings: Findings) => void },
): AsyncGenerator<Buffer, void, void> {
  if (name.kind === "segment" || name.kind === "partial") yield* checkSegment(name, body, options);
  else yield* checkText(name, body, options);
}

async function* checkSegment(
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: CheckOptions & { found: (findings: Findings) => void },
): AsyncGenerator<Buffer, void, void> {
  let head: Buffer | undefined = Buffer.alloc(0);
  let segmentSizeBytes = 0;
  let seenBytes = 0;
  for await (const chunk of body) {
    seenBytes += chunk.length;
    if (head !== undefined) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      if (head.length < FIRST_PAGE_BYTES) continue;
      segmentSizeBytes = checkHead(name, head, options);
      if (seenBytes <= segmentSizeBytes) yield head;
      head = undefined;
    } else if (seenBytes <= segmentSizeBytes) {
      yield chunk;
    }
    if (seenBytes > segmentSizeBytes) throw tooLong(name, segmentSizeBytes);
  }
  if (head !== undefined) {
    throw rejected(`${name.text} is ${seenBytes} bytes, too short for a WAL page header`);
  }
  if (seenBytes < segmentSizeBytes) throw tooShort(name, seenBytes, segmentSizeBytes);
}

/** The segment size that the header tells. */
function checkHead(
  name: WalName,
  head: Buffer,
  options: CheckOptions & { found: (findings: Findings) => void },
): number {
  const page = readFirstPage(head);
  checkFirstPage(name, page, { binding: options.binding, sizeBytes: options.sizeBytes });
  const { systemIdentifier, segmentSizeBytes, postgresMajor } = page;
  const found = { systemIdentifier, segmentSizeBytes, postgresMajor };
  options.found({
    binding: joinBindings(options.binding, found, options.cluster),
    history: undefined,
  });
  return segmentSizeBytes;
}

async function* checkText(
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: CheckOptions & { found: (findings: Findings) => void },
): AsyncGenerator<Buffer, void, void> {
  const chunks: Buffer[] = [];
  let seenBytes = 0;
  for await (const chunk of body) {
    seenBytes += chunk.length;
    if (seenBytes > TEXT_BYTES_MAX) throw tooLong(name, TEXT_BYTES_MAX);
    chunks.push(Buffer.from(chunk));
  }
  const content = Buffer.concat(chunks);
  const text = content.toString("latin1");
  if (name.kind === "history") {
    options.found({ binding: UNBOUND, history: parseHistory(name, text) });
  } else {
    parseBackupHistory(name, text, { segmentSizeBytes: options.binding.segmentSizeBytes });
    options.found({ binding: UNBOUND, history: undefined });
  }
  yield content;
}

function tooLong(name: WalName, maxBytes: number): WalarcError {
  return new WalarcError("rejected", `${name.text} is longer than ${maxBytes} bytes`, {
    status: 413,
    hint: "is it the WAL file of this name, and of this cluster?",
  });
}

function tooShort(name: WalName, sizeBytes: number, segmentSizeBytes: number): WalarcError {
  return rejected(
    `${name.text} is ${sizeBytes} bytes, but segments are ${segmentSizeBytes} bytes here`,
    "was the file cut, or is it from another PostgreSQL cluster?",
  );
}

function rejected(message: string, hint?: string): WalarcError {
  return new WalarcError("rejected", message, hint === undefined ? {} : { hint });
}
