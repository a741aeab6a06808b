/** Small JSON bodies of requests, whatever content type the client says they have. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { WalarcError } from "../errors.ts";
import { RequestBody } from "./request-body.ts";
import { quoted } from "./url.ts";

const BYTES_MAX = 64 * 1024;

/**
 * The object in the body, with no other fields than `allowed`; no body at all is an empty object.
 * Throws `usage`.
 */
export async function readJson(
  { raw }: FastifyRequest,
  reply: FastifyReply,
  options: { allowed: readonly string[]; stallMs: number; signal: AbortSignal },
): Promise<Readonly<Record<string, unknown>>> {
  const { allowed, stallMs, signal } = options;
  if (Number(raw.headers["content-length"] ?? 0) > BYTES_MAX) throw tooLong();
  const chunks: Buffer[] = [];
  using body = new RequestBody(raw, reply.raw, { bytesMax: Number.POSITIVE_INFINITY, stallMs });
  for await (const chunk of body.chunks(signal)) {
    if (body.receivedBytes > BYTES_MAX) throw tooLong();
    chunks.push(Buffer.from(chunk));
  }
  const fields = parseFields(Buffer.concat(chunks).toString());
  const stranger = Object.keys(fields).find((field) => !allowed.includes(field));
  if (stranger === undefined) return fields;
  throw new WalarcError("usage", `there is no field ${quoted(stranger)} here`, {
    hint: `known here: ${allowed.join(", ")}`,
  });
}

function tooLong(): WalarcError {
  return new WalarcError("usage", `the body is over ${BYTES_MAX} bytes`, { status: 413 });
}

function parseFields(text: string): Readonly<Record<string, unknown>> {
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // Said below: broken JSON is no object either.
  }
  throw new WalarcError("usage", "the body is not a JSON object");
}
