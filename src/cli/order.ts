import { describeServer } from "../client/connection.ts";
import { exchange, type HttpAnswer, type RequestBody } from "../client/exchange.ts";
import { failureIn } from "../client/problem.ts";
import { WalarcError } from "../errors.ts";
import { deadlineSignal } from "./deadline.ts";
import { endpointOf } from "./endpoint.ts";
import type { ClientOptions } from "./options.ts";

const TIMEOUT_MS = 30_000;

export interface Order {
  readonly method: "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent as JSON. */
  readonly content?: object | undefined;
  /** Total deadline where nobody has set one. */
  readonly timeoutMs?: number;
  /** Takes the body of a success as it comes; without it the body is in the answer. */
  readonly receive?: (bytes: Buffer) => void;
}

/**
 * Tells the daemon to do something. Resolves to its answer of success; rejects with the failure
 * that it names, or `unreachable` without an answer of walarc's.
 */
export async function order(
  options: ClientOptions,
  { receive, ...order }: Order,
): Promise<HttpAnswer> {
  const { content, timeoutMs = TIMEOUT_MS } = order;
  const answer = await exchange(endpointOf(options), {
    method: order.method,
    path: order.path,
    headers: { Accept: "application/json", ...order.headers },
    body: content === undefined ? undefined : textBody(JSON.stringify(content)),
    receive: (head) => (head.status === 200 ? receive : undefined),
    signal: deadlineSignal(options.timeoutMs ?? timeoutMs, options.server),
  });
  const where = describeServer(options.server);
  if (answer.status !== 200 && answer.status !== 204) throw failureIn(answer, where);
  const type = answer.headers.get("content-type") ?? "";
  if (answer.status === 204 || /^application\/json\b/i.test(type)) return answer;
  throw new WalarcError("unreachable", `${where}: the answer is not one of walarc's`, {
    hint: "is this walarc's address, or does a proxy answer in its place?",
  });
}

function textBody(text: string): RequestBody {
  let rest = Buffer.from(text);
  return {
    sizeBytes: rest.length,
    read: (buffer) => {
      const count = rest.copy(buffer);
      rest = rest.subarray(count);
      return count;
    },
  };
}
