import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Workspace } from "./workspace.ts";

/** By metric, the labels of each of its series. */
export type Series = ReadonlyMap<string, readonly Readonly<Record<string, string>>[]>;

/** What stands on a page of metrics. */
export function seriesOf(text: string): Series {
  const series = new Map<string, Readonly<Record<string, string>>[]>();
  for (const line of text.split("\n")) {
    const [, name, labels = ""] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    const one = Object.fromEntries(pairs.map(([, label, value]) => [label, value]));
    series.set(name, [...(series.get(name) ?? []), one]);
  }
  return series;
}

/** By metric; of the process's own those come and go that count by kind. */
export function seriesCount(text: string): Readonly<Record<string, number>> {
  const own = [...seriesOf(text)].filter(([name]) => name.startsWith("walarc_"));
  return Object.fromEntries(own.map(([name, all]) => [name, all.length]));
}

/** Path of a new certificate and its key, without their extensions. */
export async function makeCertificate(within: Workspace): Promise<string> {
  const path = within.path("tls");
  const subject = ["-subj", "/CN=localhost", "-days", "30"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const out = ["-keyout", `${path}.key`, "-out", `${path}.crt`];
  execFileSync("openssl", ["req", "-x509", ...subject, ...key, ...out], { stdio: "pipe" });
  for (const extension of ["key", "crt"]) {
    const content = readFileSync(`${path}.${extension}`);
    await within.writeFile(join(within.directory, `tls.${extension}`), content, 0o600);
  }
  return path;
}

/** An address that nobody listened on a moment ago. */
export async function freePort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const own = typeof address === "object" ? `127.0.0.1:${address?.port}` : "";
  server.close();
  await once(server, "close");
  return own;
}
