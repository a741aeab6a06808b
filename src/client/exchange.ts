/**
 * The HTTP client of the commands PostgreSQL runs: one request on one connection, over a socket of
 * its own. PostgreSQL starts the command once per WAL file, so what matters is how little is loaded
 * and copied; `node:http` costs as much again as everything here.
 */
import type { Socket } from "node:net";
import { WalarcError } from "../errors.ts";
import { type AnswerHead, AnswerReader, MalformedAnswer } from "./answer.ts";
import {
  connectionError,
  connectorTo,
  describeServer,
  type Endpoint,
  hostAndPort,
  openingEvent,
} from "./connection.ts";

/** A body of a known length, read piece by piece. */
export interface RequestBody {
  readonly sizeBytes: number;
  /**
   * Fills the beginning of `buffer` and returns how many bytes. May throw: that ends the request.
   */
  read(buffer: Buffer): number;
}

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: RequestBody | undefined;
  /** Called when the request is on its way: what is done here costs no time. */
  readonly onSent?: (() => void) | undefined;
  /**
   * Decides where the body of an answer goes. Without it, or where it returns `undefined`, the body
   * is collected in the answer. The bytes are valid until the call returns.
   */
  readonly receive?: ((head: AnswerHead) => ((bytes: Buffer) => void) | undefined) | undefined;
  readonly signal: AbortSignal;
  /** Ends a connection on which nothing moves for so long. */
  readonly idleTimeoutMs?: number | undefined;
}

export interface HttpAnswer extends AnswerHead {
  /** Empty when `receive` took it. */
  readonly body: Buffer;
  /** The request's body was sent to its end before the answer was complete. */
  readonly isRequestSent: boolean;
}

/** Of each buffer: large enough for few system calls, small enough for the processor's cache. */
const BUFFER_BYTES = 262_144;
const COLLECTED_BYTES_MAX = 16 * 2 ** 20;
/** While one buffer waits for the network, the next one is read. */
const WRITES_UNDER_WAY_MAX = 2;

/**
 * Sends `request` and resolves to the complete answer, whatever its status. Rejects with a
 * `WalarcError`: `unreachable` without a usable answer, `denied` when the socket may not be opened.
 * What `body.read`, `receive` or the aborted signal's reason throw passes through.
 */
export async function exchange(endpoint: Endpoint, request: HttpRequest): Promise<HttpAnswer> {
  request.signal.throwIfAborted();
  return await new Conversation(request, describeServer(endpoint.address)).run(endpoint);
}

function requestHead({ address, headers }: Endpoint, request: HttpRequest): string {
  const host = address.kind === "unix" ? "localhost" : hostAndPort(address);
  const lines = [`${request.method} ${request.path} HTTP/1.1`, `Host: ${host}`];
  for (const [name, value] of Object.entries({ ...headers, ...request.headers })) {
    if (!/^[\x20-\x7e]*$/.test(value)) {
      throw new WalarcError("usage", `the value for ${name} has characters that cannot be sent`);
    }
    lines.push(`${name}: ${value}`);
  }
  if (request.body !== undefined) lines.push(`Content-Length: ${request.body.sizeBytes}`);
  lines.push("Connection: close", "", "");
  return lines.join("\r\n");
}

/**
 * One connection, which settles once.
 *
 *     connecting ──► sending ──► waiting ──► reading ──► settled
 *                       └── an early answer ──┘
 */
class Conversation {
  readonly #request: HttpRequest;
  readonly #where: string;
  readonly #reader: AnswerReader;
  #settle: { resolve(answer: HttpAnswer): void; reject(reason: unknown): void } | undefined;
  #bytesToSend: number;
  #writesUnderWay = 0;
  readonly #spareBuffers: Buffer[] = [];
  #head: AnswerHead | undefined;
  #takeBody: (bytes: Buffer) => void;
  readonly #collected: Buffer[] = [];
  #collectedBytes = 0;

  constructor(request: HttpRequest, where: string) {
    this.#request = request;
    this.#where = where;
    this.#bytesToSend = request.body?.sizeBytes ?? 0;
    this.#takeBody = (bytes) => this.#collect(bytes);
    const head = (head: AnswerHead) => {
      this.#head = head;
      this.#takeBody = request.receive?.(head) ?? this.#takeBody;
    };
    const body = (bytes: Buffer) => this.#takeBody(bytes);
    this.#reader = new AnswerReader({ head, body }, { headOnly: request.method === "HEAD" });
  }

  async run(endpoint: Endpoint): Promise<HttpAnswer> {
    const { signal } = this.#request;
    const head = requestHead(endpoint, this.#request);
    const answer = new Promise<HttpAnswer>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    const connector = await connectorTo(endpoint);
    const socket = connector((bytes) => this.#guard(() => this.#take(bytes)));
    socket.once("error", (error) => this.#fail(connectionError(error, this.#where)));
    socket.once("end", () => this.#guard(() => this.#end()));
    socket.once("close", () => this.#guard(() => this.#end()));
    socket.once("timeout", () => this.#fail(this.#unreachable("the connection stands still")));
    socket.setTimeout(this.#request.idleTimeoutMs ?? 0);
    const onOpen = () => this.#guard(() => this.#send(socket, head));
    socket.once(openingEvent(endpoint), onOpen);
    const onAbort = () => this.#fail(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await answer;
    } finally {
      signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners("error").on("error", () => {}); // Nobody asks any more.
      socket.destroy();
    }
  }

  #send(socket: Socket, head: string): void {
    socket.write(head, "latin1");
    this.#sendBody(socket);
    this.#request.onSent?.();
  }

  /** Keeps buffers on their way until all is sent or the server has answered. */
  #sendBody(socket: Socket): void {
    const { body } = this.#request;
    if (body === undefined) return;
    while (this.#writesUnderWay < WRITES_UNDER_WAY_MAX) {
      if (this.#bytesToSend === 0 || this.#head !== undefined || !socket.writable) return;
      const buffer = this.#spareBuffers.pop() ?? Buffer.allocUnsafe(BUFFER_BYTES);
      const filled = body.read(buffer.subarray(0, Math.min(BUFFER_BYTES, this.#bytesToSend)));
      this.#bytesToSend -= filled;
      this.#writesUnderWay += 1;
      socket.write(buffer.subarray(0, filled), () => {
        this.#writesUnderWay -= 1;
        this.#spareBuffers.push(buffer);
        this.#guard(() => this.#sendBody(socket));
      });
    }
  }

  #take(bytes: Buffer): void {
    this.#reader.push(bytes);
    if (this.#reader.isDone) this.#finish();
  }

  #end(): void {
    this.#reader.end();
    this.#finish();
  }

  #finish(): void {
    if (this.#head === undefined) throw new Error("an answer without a head was complete");
    const isRequestSent = this.#bytesToSend === 0;
    const body = Buffer.concat(this.#collected);
    this.#settle?.resolve({ ...this.#head, body, isRequestSent });
    this.#settle = undefined;
  }

  #fail(reason: unknown): void {
    this.#settle?.reject(reason);
    this.#settle = undefined;
  }

  /** Runs a step of the conversation, unless it is over; what the step throws ends it. */
  #guard(step: () => void): void {
    if (this.#settle === undefined) return;
    try {
      step();
    } catch (error) {
      this.#fail(error instanceof MalformedAnswer ? this.#unreachable(error.message) : error);
    }
  }

  #collect(bytes: Buffer): void {
    this.#collectedBytes += bytes.length;
    if (this.#collectedBytes > COLLECTED_BYTES_MAX) {
      throw new MalformedAnswer(`the answer has more than ${COLLECTED_BYTES_MAX} bytes`);
    }
    this.#collected.push(Buffer.from(bytes)); // A copy: the bytes are only borrowed.
  }

  #unreachable(why: string): WalarcError {
    return new WalarcError("unreachable", `${this.#where}: ${why}`);
  }
}
