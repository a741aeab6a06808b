/** Rules between keys, which no schema of a single key can hold. */
import { normalize } from "node:path";
import { parseConninfo } from "./conninfo.ts";
import { isLoopbackHost, parseListenAddress } from "./listen.ts";
import { formatPath, isTable, type Path, type Problem, type Table } from "./problems.ts";
import type { FileConfig } from "./schema.ts";

/**
 * What contradicts itself across keys. Looks only at values that are sound by themselves, so that
 * all problems of a file can be told at once.
 */
export function crossProblems(file: Table, shapes: readonly Problem[]): Problem[] {
  const view = new View(file, shapes);
  return [
    ...listenerProblems(view),
    ...tlsProblems(view),
    ...bucketProblems(view),
    ...rightsProblems(view, "tokens"),
    ...rightsProblems(view, "certificates"),
    ...spoolProblems(view),
    ...clientProblems(view),
    ...conninfoProblems(view),
  ];
}

/** What is allowed and yet rarely meant. */
export function warningsOf(file: FileConfig): string[] {
  const { server, tokens, certificates, store } = file;
  const address = parseListenAddress(server.listen);
  const isOpenToNetwork = address !== undefined && !isLoopbackHost(address.host);
  const warnings: string[] = [];
  if (server.auth === "none" && isOpenToNetwork) {
    warnings.push(
      `server.auth: "none" lets everybody who reaches ${server.listen} read and write the archive`,
    );
  }
  if (server.auth === "none" && tokens.length > 0) {
    warnings.push('tokens: nobody needs one while server.auth is "none"');
  }
  if (server.auth === "none" && server.tls.client_ca_file !== "") {
    warnings.push(
      'server.tls.client_ca_file: nobody needs a certificate while server.auth is "none"',
    );
  } else if (server.tls.client_ca_file !== "" && certificates.length === 0) {
    warnings.push(
      "server.tls.client_ca_file: without [[certificates]] no client certificate opens anything",
    );
  }
  if (server.auth === "token" && isOpenToNetwork && server.tls.cert_file === "") {
    warnings.push(
      `server.listen: tokens travel unencrypted to ${server.listen} without server.tls`,
    );
  }
  const needsTokens = server.auth === "token" && certificates.length === 0;
  if (needsTokens && isOpenToNetwork && tokens.length === 0) {
    warnings.push(`tokens: without one, nobody can use ${server.listen}`);
  }
  const endpoint = store.kind === "s3" ? store.endpoint : "";
  if (endpoint.startsWith("http:") && !isLoopbackHost(hostOf(endpoint))) {
    warnings.push(`store.endpoint: WAL travels unencrypted to ${endpoint}; use https if it can`);
  }
  if (server.socket !== "" && (Number.parseInt(server.socket_mode, 8) & 0o006) !== 0) {
    warnings.push(
      `server.socket_mode: "${server.socket_mode}" lets every user of this host into the archive`,
    );
  }
  return warnings;
}

function hostOf(url: string): string {
  return new URL(url).hostname.replaceAll(/[[\]]/g, "");
}

/** A file that may have problems, seen with care. */
class View {
  readonly #file: Table;
  readonly #problems: readonly Problem[];

  constructor(file: Table, problems: readonly Problem[]) {
    this.#file = file;
    this.#problems = problems;
  }

  /** The value at a place, whatever it is. */
  raw(path: Path): unknown {
    return path.reduce<unknown>((at, step) => {
      if (Array.isArray(at)) return at[Number(step)] as unknown;
      return isTable(at) && Object.hasOwn(at, step) ? at[step] : undefined;
    }, this.#file);
  }

  /** The text at a place, or `undefined` when there is none or it has a problem. */
  text(...path: Path): string | undefined {
    const isUnsound = this.#problems.some(
      (problem) => formatPath(problem.path) === formatPath(path),
    );
    const value = isUnsound ? undefined : this.raw(path);
    return typeof value === "string" ? value : undefined;
  }

  /** The indexes of the list at a place; none when it is no list. */
  indexes(...path: Path): number[] {
    const list = this.raw(path);
    return Array.isArray(list) ? [...list.keys()] : [];
  }

  /** The names in the table at a place; none when it is no table. */
  names(...path: Path): string[] {
    const table = this.raw(path);
    return isTable(table) ? Object.keys(table) : [];
  }

  /** Whether a cluster of this name may be spoken of: any, when none is configured. */
  mayHaveCluster(name: string): boolean {
    const clusters = this.raw(["clusters"]);
    if (!isTable(clusters) || Object.keys(clusters).length === 0) return true;
    return Object.hasOwn(clusters, name);
  }
}

function listenerProblems(view: View): Problem[] {
  if (view.text("server", "listen") !== "" || view.text("server", "socket") !== "") return [];
  return [{ path: ["server"], why: "listen and socket are both empty, so nobody could connect" }];
}

function tlsProblems(view: View): Problem[] {
  const tls = (key: string) => view.text("server", "tls", key);
  const problems: Problem[] = [];
  const add = (key: string, why: string) => problems.push({ path: ["server", "tls", key], why });
  if (tls("cert_file") && tls("key_file") === "") add("key_file", "is missing beside cert_file");
  if (tls("key_file") && tls("cert_file") === "") add("cert_file", "is missing beside key_file");
  if (tls("client_ca_file") && tls("cert_file") === "" && tls("key_file") === "") {
    add("client_ca_file", "is of no use without cert_file and key_file");
  }
  if (tls("cert_file") && view.text("server", "listen") === "") {
    add("cert_file", "is of no use while server.listen is empty");
  }
  if (view.indexes("certificates").length > 0 && tls("client_ca_file") === "") {
    const why = "are of no use without server.tls.client_ca_file, which vouches for them";
    problems.push({ path: ["certificates"], why });
  }
  return problems;
}

/** Of those who come over TCP: nobody twice, and no cluster that is not there. */
function rightsProblems(view: View, list: "tokens" | "certificates"): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, number>();
  for (const index of view.indexes(list)) {
    for (const key of ["name", "sha256"]) {
      const value = view.text(list, index, key);
      if (value === undefined) continue;
      const id = `${key} ${value.toLowerCase()}`;
      const first = seen.get(id);
      const path = [list, index, key];
      if (first === undefined) seen.set(id, index);
      else problems.push({ path, why: `is the same as of ${list}[${first}]` });
    }
    for (const position of view.indexes(list, index, "clusters")) {
      const path = [list, index, "clusters", position];
      const name = view.text(...path);
      if (name !== undefined && name !== "*" && !view.mayHaveCluster(name)) {
        problems.push({ path, why: notConfigured(name) });
      }
    }
  }
  return problems;
}

/** Classes from which an object must be brought back for hours before it can be read. */
const FROZEN = /^(?:GLACIER|DEEP_ARCHIVE)$/i;

function bucketProblems(view: View): Problem[] {
  const problems: Problem[] = [];
  const add = (key: string, why: string) => problems.push({ path: ["store", key], why });
  if (
    view.text("store", "kms_key_id") &&
    view.text("store", "server_side_encryption") !== "aws:kms"
  ) {
    add("kms_key_id", 'is of no use unless server_side_encryption is "aws:kms"');
  }
  const storageClass = view.text("store", "storage_class") ?? "";
  if (FROZEN.test(storageClass)) {
    add("storage_class", `"${storageClass}" takes hours to read from, and a recovery waits`);
  }
  return problems;
}

function spoolProblems(view: View): Problem[] {
  const problems: Problem[] = [];
  const before: { readonly index: number; readonly directory: string }[] = [];
  for (const index of view.indexes("spool")) {
    const name = view.text("spool", index, "cluster");
    if (name !== undefined && !view.mayHaveCluster(name)) {
      problems.push({ path: ["spool", index, "cluster"], why: notConfigured(name) });
    }
    const directory = view.text("spool", index, "path");
    if (directory === undefined) continue;
    const path = ["spool", index, "path"];
    for (const other of before) {
      const why = nestingOf(directory, other.directory);
      if (why !== undefined) problems.push({ path, why: `${why} spool[${other.index}]` });
    }
    before.push({ index, directory });
    // All that is no WAL file would be moved aside.
    const socket = view.text("server", "socket");
    if (socket !== undefined && socket !== "" && isWithin(socket, directory)) {
      problems.push({ path, why: `"${directory}" holds server.socket; choose another place` });
    }
    const store = view.text("store", "path");
    if (store === undefined || store === "") continue;
    if (isWithin(directory, store)) {
      problems.push({ path, why: `"${directory}" lies in the store; choose another place` });
    } else if (isWithin(store, directory)) {
      problems.push({ path, why: `the store lies in "${directory}"; choose another place` });
    }
  }
  return problems;
}

function clientProblems(view: View): Problem[] {
  const [cert, key] = [view.text("client", "cert_file"), view.text("client", "key_file")];
  if (cert && key === "") {
    return [{ path: ["client", "key_file"], why: "is missing beside cert_file" }];
  }
  if (key && cert === "") {
    return [{ path: ["client", "cert_file"], why: "is missing beside key_file" }];
  }
  return [];
}

function conninfoProblems(view: View): Problem[] {
  const problems: Problem[] = [];
  for (const cluster of view.names("clusters")) {
    for (const standby of view.names("clusters", cluster, "standbys")) {
      const path = ["clusters", cluster, "standbys", standby, "conninfo"];
      const parsed = parseConninfo(view.text(...path) ?? "", NOBODY);
      if ("problem" in parsed) problems.push({ path, why: parsed.problem });
    }
  }
  return problems;
}

/** The string alone is looked at, not what the daemon's surroundings would add. */
const NOBODY = { environment: {}, account: { name: "", home: "" } };

function notConfigured(name: string): string {
  return `"${name}" is none of the configured clusters; add [clusters.${name}]`;
}

/** How two directories of which each needs a place of its own get in each other's way. */
function nestingOf(
  directory: string,
  other: string,
): "is the same as of" | "lies in" | "holds" | undefined {
  const [isInside, isOutside] = [isWithin(directory, other), isWithin(other, directory)];
  if (isInside) return isOutside ? "is the same as of" : "lies in";
  return isOutside ? "holds" : undefined;
}

function isWithin(path: string, directory: string): boolean {
  const [inner, outer] = [path, directory].map((one) => `${normalize(one)}/`.replace(/\/+$/, "/"));
  return inner !== undefined && outer !== undefined && inner.startsWith(outer);
}
