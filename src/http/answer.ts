/** The life of a request: until its answer is out, its client leaves, or its time is over. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { WalarcError } from "../errors.ts";
import { ClientGone } from "./problem.ts";

/**
 * Aborts when the client leaves before it has its answer. Not the request's own signal: in fastify
 * 5.12 that one also aborts when the body has been read to its end (fastify issue 6725).
 */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  const check = () => {
    if (!response.writableFinished) gone.abort(new ClientGone());
  };
  if (response.destroyed) check();
  else response.once("close", check);
  return gone.signal;
}

/** For an answer that the archive did not give in time. */
export function tooSlow(what: string, deadlineMs: number): WalarcError {
  const seconds = Math.round(deadlineMs / 1000);
  return new WalarcError("store-failed", `${what} took longer than ${seconds} s`, {
    hint: "look at the store: is its disk or network stuck?",
  });
}

/**
 * Sends bytes as the answer's body and resolves when all were handed to the client's connection.
 * Rejects with the bytes' own failure, or when the client leaves, reads nothing for too long or is
 * not done in time; the connection is then closed, so that a part is never taken for the whole.
 */
export async function sendBytes(
  reply: FastifyReply,
  bytes: AsyncIterable<Buffer>,
  limits: { stallMs: number; deadlineMs: number },
): Promise<void> {
  const response = reply.raw;
  const stream = Readable.from(bytes, { objectMode: false });
  let failure: unknown;
  stream.once("error", (error) => {
    failure = error;
  });
  const giveUp = () => {
    failure ??= new WalarcError("unreachable", "the client did not read its answer in time");
    response.destroy();
  };
  const deadline = setTimeout(giveUp, limits.deadlineMs);
  response.setTimeout(limits.stallMs, giveUp);
  try {
    const closed = once(response, "close");
    void reply.send(stream);
    await closed;
  } finally {
    clearTimeout(deadline);
  }
  if (!response.writableFinished) throw failure ?? new ClientGone();
}
