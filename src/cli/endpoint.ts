import { readFileSync } from "node:fs";
import { WalarcError } from "../errors.ts";
import type { Endpoint } from "../client/connection.ts";
import type { ClientOptions } from "./options.ts";

/** Where and how `options` say to call. Reads the TLS files; throws `usage` when it cannot. */
export function endpointOf(options: ClientOptions): Endpoint {
  const { server: address, token } = options;
  const headers: Record<string, string> = {};
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  if (address.kind !== "tcp" || !address.tls) return { address, headers, tls: {} };
  const { caFile, certFile, keyFile } = options.tls;
  const tls = { ca: readPem(caFile), cert: readPem(certFile), key: readPem(keyFile) };
  return { address, headers, tls };
}

function readPem(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("usage", `cannot read ${JSON.stringify(path)}: ${why}`, { cause: error });
  }
  // Node itself takes a file of authorities without any for one that trusts nobody.
  if (text.includes("-----BEGIN ")) return text;
  throw new WalarcError("usage", `${JSON.stringify(path)} is no PEM file`);
}
