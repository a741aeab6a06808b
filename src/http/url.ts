/** Request targets are taken literally: what is not spelled as documented does not exist. */
import type { IncomingMessage } from "node:http";
import { isClusterName } from "../archive/keys.ts";
import { WalarcError } from "../errors.ts";
import { requireWalName, type WalName } from "../wal/name.ts";

const ORIGIN = /^https?:\/\/[^/?#]*/i;

/**
 * The request's target as the router shall see it. The router decodes `%2f` and cuts at `#`; with
 * `%` and `#` encoded once more, what arrives at a route is exactly what stood on the wire, and a
 * name has one spelling only.
 */
export function literalTarget(request: Pick<IncomingMessage, "url">): string {
  const target = (request.url ?? "/").replace(ORIGIN, "");
  const queryAt = target.indexOf("?");
  const path = queryAt === -1 ? target : target.slice(0, queryAt);
  const query = queryAt === -1 ? "" : target.slice(queryAt);
  const literal = path.replaceAll("%", "%25").replaceAll("#", "%23");
  return (literal.startsWith("/") ? literal : `/${literal}`) + query;
}

/** The cluster's name; throws `usage`. */
export function requireClusterName(text: string): string {
  if (isClusterName(text)) return text;
  throw new WalarcError("usage", `${quoted(text)} is not a cluster name`, {
    hint: "up to 63 of a-z, 0-9, _ and -, beginning with a letter or digit",
  });
}

export interface WalTarget {
  readonly cluster: string;
  readonly name: WalName;
}

/** What a request is about; throws `usage` for the cluster, `rejected` for the WAL file. */
export function requireWalTarget(parameters: { cluster: string; name: string }): WalTarget {
  const cluster = requireClusterName(parameters.cluster);
  return { cluster, name: requireWalName(parameters.name) };
}

/** Whether a path has a route's template: the same parts, and any text for a parameter. */
export function fitsTemplate(path: string, template: string): boolean {
  const parts = path.split("/");
  const wanted = template.split("/");
  return (
    parts.length === wanted.length &&
    wanted.every((part, index) => part.startsWith(":") || part === parts[index])
  );
}

/** Fit for a message, whatever was sent. */
export function quoted(text: string): string {
  return JSON.stringify(printable(text));
}

/** The beginning of a text, without a character that a terminal or a log viewer would act upon. */
export function printable(text: string, lengthMax = 80): string {
  const start = text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text;
  return start.replace(/[^ -~…]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}
