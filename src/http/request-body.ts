/** Bodies of requests: read without ever being held, or left unread with an end in sight. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { FastifyInstance } from "fastify";
import { WalarcError } from "../errors.ts";
import { ClientGone } from "./problem.ts";

export interface BodyLimits {
  readonly bytesMax: number;
  /** Longest silence in the middle of a body. */
  readonly stallMs: number;
}

const ARRIVALS = ["readable", "end", "close"];

/**
 * The body of a request as it comes over the wire, at the pace of whoever reads it. Unlike the
 * stream's own iterator it leaves the connection alive when it ends early: the answer still has to
 * go out. Dispose it before answering.
 */
export class RequestBody implements Disposable {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #limits: BodyLimits;
  readonly #wake = () => this.#continue?.();
  #continue: (() => void) | undefined;
  #isReleased = false;
  #isBegun = false;
  #isInTheWay = false;
  #waitedMs = 0;
  #waitsSinceMs: number | undefined;
  #receivedBytes = 0;

  constructor(request: IncomingMessage, response: ServerResponse, limits: BodyLimits) {
    this.#request = request;
    this.#response = response;
    this.#limits = limits;
    for (const event of ARRIVALS) request.on(event, this.#wake);
    // Stays when the body is released: an error that nobody listens to would end the process.
    request.on("error", this.#wake);
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Somebody reads it. */
  get isBegun(): boolean {
    return this.#isBegun;
  }

  /** For how long the client was waited for, in all. */
  get waitedMs(): number {
    const sinceMs = this.#waitsSinceMs;
    return this.#waitedMs + (sinceMs === undefined ? 0 : performance.now() - sinceMs);
  }

  /** Ends the reading: others wait, and this body comes too slowly. */
  giveWay(): void {
    this.#isInTheWay = true;
    this.#wake();
  }

  /** It is the client that everybody waits for. */
  get isAwaited(): boolean {
    return this.#continue !== undefined;
  }

  /**
   * Rejects when the client leaves early or falls silent, when the body is too long, and with the
   * signal's reason. A client that waits to be asked for its body (`Expect: 100-continue`) is asked
   * on the first read, and so never for a body that nobody wants.
   */
  async *chunks(signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    this.#isBegun = true;
    if (isAskedFirst(this.#request)) this.#response.writeContinue();
    // One timer and one listener for the whole body: there are hundreds of chunks.
    let isSilent = false;
    const silence = setTimeout(() => {
      isSilent = true;
      this.#wake();
    }, this.#limits.stallMs);
    signal.addEventListener("abort", this.#wake);
    try {
      while (!this.#isReleased) {
        signal.throwIfAborted();
        const chunk = this.#request.read() as Buffer | null;
        if (chunk !== null) {
          this.#receivedBytes += chunk.length;
          if (this.#receivedBytes > this.#limits.bytesMax) throw tooLong();
          yield chunk;
          continue;
        }
        if (this.#request.readableEnded) return;
        if (this.#request.destroyed) throw new ClientGone();
        // It may have gone off while the reader took its time over a chunk.
        isSilent = false;
        silence.refresh();
        await this.#arrival();
        if (signal.aborted) continue;
        if (this.#isInTheWay) throw inTheWay();
        if (isSilent) throw this.#stalled();
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", this.#wake);
    }
    throw new Error("the body was read after its request was answered");
  }

  [Symbol.dispose](): void {
    this.#isReleased = true;
    for (const event of ARRIVALS) this.#request.off(event, this.#wake);
    this.#wake();
  }

  /** Resolves when there may be something new: bytes, the end, or a reason to stop. */
  #arrival(): Promise<void> {
    const sinceMs = performance.now();
    this.#waitsSinceMs = sinceMs;
    return new Promise((resolve) => {
      this.#continue = () => {
        this.#continue = undefined;
        this.#waitedMs += performance.now() - sinceMs;
        this.#waitsSinceMs = undefined;
        resolve();
      };
    });
  }

  #stalled(): WalarcError {
    const seconds = Math.round(this.#limits.stallMs / 1000);
    return new WalarcError("unreachable", `nothing of the body came for ${seconds} s`, {
      status: 408,
      hint: "look at the network between the client and this server",
    });
  }
}

function inTheWay(): WalarcError {
  return new WalarcError("unreachable", "the body came too slowly while others waited", {
    status: 408,
    hint: "look at the network between the client and this server",
  });
}

/** Lets routes read their bodies themselves, whatever type the client says they have. */
export function passBodiesThrough(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", (_request, body, done) => done(null, body));
  server.addHook("onRequest", async ({ raw }) => {
    // fastify would refuse one that it cannot parse.
    delete raw.headers["content-type"];
  });
}

export function tooLong(): WalarcError {
  return new WalarcError("rejected", "the body is longer than any WAL file", {
    status: 413,
    hint: "segments have at most 1 GB",
  });
}

function isAskedFirst(request: IncomingMessage): boolean {
  return request.headers.expect?.toLowerCase() === "100-continue";
}

/** The request has a body of which a part has not arrived, or not been looked at. */
export function hasUnreadBody(request: IncomingMessage): boolean {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  return !request.complete && (encoding !== undefined || Number(length ?? 0) > 0);
}

/**
 * Reads on and throws away, until the body ends, the limits are reached or the client leaves. A
 * connection closed with bytes unread is reset, and a reset can overtake the answer.
 */
export function drain(
  request: IncomingMessage,
  limits: { bytesMax: number; timeMs: number },
): Promise<void> {
  return new Promise((resolve) => {
    if (request.destroyed || request.readableEnded) {
      resolve();
      return;
    }
    let drainedBytes = 0;
    const stop = () => {
      clearTimeout(timer);
      request.off("data", count).off("end", stop).off("close", stop);
      request.pause();
      resolve();
    };
    const count = (chunk: Buffer) => {
      drainedBytes += chunk.length;
      if (drainedBytes > limits.bytesMax) stop();
    };
    const timer = setTimeout(stop, limits.timeMs);
    request.on("error", stop).on("data", count).once("end", stop).once("close", stop).resume();
  });
}
