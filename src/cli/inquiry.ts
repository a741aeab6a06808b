import { describeServer } from "../client/connection.ts";
import { exchange } from "../client/exchange.ts";
import { failureIn } from "../client/problem.ts";
import { WalarcError } from "../errors.ts";
import { deadlineSignal } from "./deadline.ts";
import { endpointOf } from "./endpoint.ts";
import type { ClientOptions } from "./options.ts";

const TIMEOUT_MS = 30_000;

/**
 * Asks the daemon for a JSON document. Rejects with the failure the daemon names, or `unreachable`
 * without an answer of walarc's; `isExpected` tells one from any other JSON.
 */
export async function inquire<Answer>(
  options: ClientOptions,
  question: {
    readonly path: string;
    readonly isExpected: (answer: unknown) => answer is Answer;
  },
): Promise<Answer> {
  const answer = await exchange(endpointOf(options), {
    method: "GET",
    path: question.path,
    headers: { Accept: "application/json" },
    signal: deadlineSignal(options.timeoutMs ?? TIMEOUT_MS, options.server),
  });
  const where = describeServer(options.server);
  if (answer.status !== 200) throw failureIn(answer, where);
  const document = parseJson(answer.body.toString("utf8"));
  if (question.isExpected(document)) return document;
  throw new WalarcError("unreachable", `${where}: the answer is not one of walarc's`, {
    hint: "is this walarc's address, or does a proxy answer in its place?",
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // No JSON is no answer of walarc's either.
  }
}
