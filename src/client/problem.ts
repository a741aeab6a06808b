import { type FailureCode, isFailureCode, WalarcError } from "../errors.ts";
import type { HttpAnswer } from "./exchange.ts";

/** Codes that tell of the caller's own side: no server answers with them. */
const OURS: ReadonlySet<FailureCode> = new Set(["local", "unreachable"]);

const TEXT_LENGTH_MAX = 500;

/**
 * The failure that an answer other than 2xx tells of. Only walarc's own problem document names one:
 * a proxy's error page, a wrong path's 404 and a rate limit's 429 are all `unreachable`, because
 * they say nothing about the archive. So are the codes in `senseless`: they answer no such request.
 */
export function failureIn(
  answer: HttpAnswer,
  where: string,
  senseless: readonly FailureCode[] = [],
): WalarcError {
  const problem = problemIn(answer);
  if (problem === undefined || senseless.includes(problem.code)) {
    const hint = "is this walarc's address, or does a proxy answer in its place?";
    const why = `status ${answer.status} without a code that answers the request`;
    return new WalarcError("unreachable", `${where}: ${why}`, { hint });
  }
  return new WalarcError(problem.code, problem.detail, {
    status: answer.status,
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
  });
}

interface Problem {
  readonly code: FailureCode;
  readonly detail: string;
  readonly hint: string | undefined;
}

function problemIn(answer: HttpAnswer): Problem | undefined {
  if (answer.status < 400 || answer.status === 429) return undefined;
  const type = answer.headers.get("content-type") ?? "";
  if (!/^application\/problem\+json\s*(;|$)/i.test(type)) return undefined;
  const document = parseObject(answer.body);
  const code = document?.["code"];
  if (!isFailureCode(code) || OURS.has(code)) return undefined;
  // PostgreSQL ends a recovery on this one word: it must be meant.
  if (code === "absent" && answer.status !== 404) return undefined;
  const detail = oneLine(document?.["detail"]) ?? `status ${answer.status}`;
  return { code, detail, hint: oneLine(document?.["hint"]) };
}

function parseObject(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined; // Whatever it is, it is no problem document.
  }
}

/** A text from the network as it may stand in a message: printable, on one line, not endless. */
function oneLine(value: unknown): string | undefined {
  if (typeof value !== "string" || value === "") return undefined;
  return value.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").slice(0, TEXT_LENGTH_MAX);
}
