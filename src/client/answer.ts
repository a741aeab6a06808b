/**
 * Reads one HTTP/1.1 answer from whatever pieces the network delivers.
 *
 *     head ──► body of a known length ──────────────► done
 *       │ ──► chunk size ◄─► chunk data ► trailers ──► done
 *       │ ──► body until the connection ends ───────► done
 *       └ 1xx: skipped, the next head follows
 *
 * Anything else is refused: an answer that is read in two ways can be believed in neither.
 */

/** Status and headers of an answer. Names are lower case; a repeated header is joined with ", ". */
export interface AnswerHead {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

/** Where the parts of an answer go as they arrive. */
export interface AnswerEvents {
  head(head: AnswerHead): void;
  /** The bytes are valid until the call returns. */
  body(bytes: Buffer): void;
}

/** The bytes are no HTTP/1.1 answer, or one that exceeds a limit. */
export class MalformedAnswer extends Error {
  override readonly name = "MalformedAnswer";
}

const HEAD_BYTES_MAX = 16_384;
const CHUNK_LINE_BYTES_MAX = 256;
const BODY_BYTES_MAX = 2 ** 40;

type State = "head" | "counted" | "chunk-size" | "chunk" | "chunk-end" | "trailers" | "until-close";

/** Reads one answer. `headOnly`: the request was a HEAD, whose answer has headers and no body. */
export class AnswerReader {
  readonly #events: AnswerEvents;
  readonly #headOnly: boolean;
  #state: State | "done" = "head";
  /** Of the counted body or the chunk under way. */
  #bytesLeft = 0;
  /** An unfinished head, or line between chunks. */
  #line = "";
  #trailerBytes = 0;

  constructor(events: AnswerEvents, options: { readonly headOnly: boolean }) {
    this.#events = events;
    this.#headOnly = options.headOnly;
  }

  /** The answer is complete. */
  get isDone(): boolean {
    return this.#state === "done";
  }

  /**
   * Takes the next bytes of the connection. Throws `MalformedAnswer`. What follows a complete
   * answer is nobody's: it is not read.
   */
  push(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0 && this.#state !== "done") rest = rest.subarray(this.#take(rest));
  }

  /** The connection has ended. Throws `MalformedAnswer` unless that makes the answer complete. */
  end(): void {
    if (this.#state === "until-close") this.#state = "done";
    if (this.#state === "done") return;
    const where = this.#state === "head" ? "its headers" : "its body";
    const empty = this.#state === "head" && this.#line === "";
    throw new MalformedAnswer(
      empty ? "the connection ended without an answer" : `the answer was cut off in ${where}`,
    );
  }

  /** Consumes the beginning of `bytes`; returns how many. */
  #take(bytes: Buffer): number {
    switch (this.#state) {
      case "head":
        return this.#takeUntil(bytes, "\r\n\r\n", HEAD_BYTES_MAX, (text) => this.#startBody(text));
      case "counted":
      case "chunk":
        return this.#takeCounted(bytes);
      case "until-close":
        this.#events.body(bytes);
        return bytes.length;
      case "chunk-size":
        return this.#takeUntil(bytes, "\r\n", CHUNK_LINE_BYTES_MAX, (text) =>
          this.#startChunk(text),
        );
      case "chunk-end":
        return this.#takeUntil(bytes, "\r\n", 2, (text) => {
          if (text !== "") throw new MalformedAnswer("a chunk is longer than announced");
          this.#state = "chunk-size";
        });
      case "trailers":
        return this.#takeUntil(bytes, "\r\n", HEAD_BYTES_MAX, (text) => {
          this.#trailerBytes += text.length + 2;
          if (this.#trailerBytes > HEAD_BYTES_MAX) throw new MalformedAnswer("too many trailers");
          if (text === "") this.#state = "done";
        });
      case "done":
        break;
    }
    return bytes.length;
  }

  /** Collects text up to `mark` and hands it on without it. */
  #takeUntil(bytes: Buffer, mark: string, max: number, take: (text: string) => void): number {
    const before = this.#line.length;
    const text = this.#line + bytes.toString("latin1", 0, max + mark.length);
    // The mark itself may have come in two pieces.
    const at = text.indexOf(mark, Math.max(0, before - mark.length + 1));
    if (at > max || (at < 0 && text.length > max)) {
      throw new MalformedAnswer(`more than ${max} bytes without an end of line or headers`);
    }
    if (at < 0) {
      this.#line = text;
      return text.length - before;
    }
    this.#line = "";
    take(text.slice(0, at));
    return at + mark.length - before;
  }

  #takeCounted(bytes: Buffer): number {
    const part = bytes.subarray(0, this.#bytesLeft);
    this.#bytesLeft -= part.length;
    const isChunk = this.#state === "chunk";
    if (this.#bytesLeft === 0) this.#state = isChunk ? "chunk-end" : "done";
    this.#events.body(part);
    return part.length;
  }

  #startChunk(line: string): void {
    const [, hex] = /^([0-9A-Fa-f]{1,10})[ \t]*(?:;.*)?$/.exec(line) ?? [];
    if (hex === undefined) throw new MalformedAnswer(`chunk size ${quote(line)} is no number`);
    this.#bytesLeft = Number.parseInt(hex, 16);
    this.#state = this.#bytesLeft === 0 ? "trailers" : "chunk";
  }

  #startBody(text: string): void {
    const head = parseHead(text);
    if (head.status < 200) {
      // The server will not switch protocols: nobody asked it to.
      if (head.status === 101) throw new MalformedAnswer("unexpected status 101");
      return;
    }
    this.#state = this.#bodyState(head);
    this.#events.head(head);
  }

  #bodyState(head: AnswerHead): State | "done" {
    const lengthBytes = contentLength(head.headers.get("content-length"));
    const encoding = head.headers.get("transfer-encoding");
    if (this.#headOnly || head.status === 204 || head.status === 304) return "done";
    if (encoding !== undefined) {
      if (lengthBytes !== undefined) throw new MalformedAnswer("the answer has two lengths");
      if (encoding.toLowerCase() === "chunked") return "chunk-size";
      throw new MalformedAnswer(`unknown transfer encoding ${quote(encoding)}`);
    }
    if (lengthBytes === undefined) return "until-close";
    this.#bytesLeft = lengthBytes;
    return lengthBytes === 0 ? "done" : "counted";
  }
}

function parseHead(text: string): AnswerHead {
  const [statusLine = "", ...lines] = text.split("\r\n");
  const [, status] = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: .*)?$/.exec(statusLine) ?? [];
  if (status === undefined) {
    throw new MalformedAnswer(`${quote(statusLine)} is no HTTP answer`);
  }
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined || value.includes("\0")) {
      throw new MalformedAnswer(`${quote(line)} is no header`);
    }
    const key = name.toLowerCase();
    const earlier = headers.get(key);
    headers.set(key, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  return { status: Number(status), headers };
}

function contentLength(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,13}$/.test(text) || Number(text) > BODY_BYTES_MAX) {
    throw new MalformedAnswer(`${quote(text)} is no content length`);
  }
  return Number(text);
}

/** A stranger's bytes, short and printable, for a message. */
function quote(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(short.replace(/[^\x20-\x7e…]/g, "?"));
}
