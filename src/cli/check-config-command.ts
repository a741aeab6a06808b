import type { Config } from "../config/config.ts";
import { ConfigFailure } from "../config/failure.ts";
import { readConfigText } from "../config/file.ts";
import { checkClientFile, parseConfig } from "../config/parser.ts";
import { formatCount, formatFacts } from "./columns.ts";
import { parseCommandLine } from "./options.ts";
import { printOutput } from "./output.ts";
import { printError, reportFailure } from "./report.ts";

/**
 * `walarc check-config FILE`: whether the daemon would start with it, or a client, when the file
 * has nothing but a `[client]` table. Opens nothing the file names. Resolves to the exit status.
 */
export async function checkConfigCommand(args: readonly string[]): Promise<number> {
  let isJson = false;
  try {
    const line = parseCommandLine(args, {
      command: "check-config",
      positionals: ["FILE"],
      flags: { json: "boolean" },
      kind: "local",
    });
    isJson = line.switches.has("json");
    const [path = ""] = line.positionals;
    const { text, warnings: fileWarnings } = await readConfigText(path);
    const config = checkClientFile(text) ? undefined : parseConfig(text);
    const warnings = [...fileWarnings, ...(config?.warnings ?? [])];
    if (isJson) await printJson({ problems: [], warnings });
    else {
      for (const warning of warnings) printError(`warning: ${warning}\n`);
      await printOutput(`ok: ${path}\n${summaryOf(config)}`);
    }
    return 0;
  } catch (error) {
    if (isJson && error instanceof ConfigFailure) {
      await printJson({ problems: error.problems, warnings: [] });
    }
    return reportFailure("check-config", error);
  }
}

async function printJson(result: {
  readonly problems: ConfigFailure["problems"];
  readonly warnings: readonly string[];
}): Promise<void> {
  await printOutput(`${JSON.stringify(result, undefined, 2)}\n`);
}

function summaryOf(config: Config | undefined): string {
  if (config === undefined) return formatFacts([["client", "options of the client commands"]]);
  const { server, store, tokens, certificates, clusters, spools } = config;
  const listeners = [
    ...(server.listen === undefined
      ? []
      : [`${formatHost(server.listen.host)}:${server.listen.port} (${rulesOf(server)})`]),
    ...(server.socket === undefined
      ? []
      : [`unix:${server.socket.path} (mode ${server.socket.mode.toString(8).padStart(4, "0")})`]),
  ];
  const names = [...clusters.keys()].join(", ");
  return formatFacts([
    ["listens on", listeners.join(", ")],
    ["store", placeOf(store)],
    ["tokens", tokens.length === 0 ? "none" : formatCount(tokens.length, "token")],
    ...(certificates.length === 0
      ? []
      : [["certificates", formatCount(certificates.length, "certificate")] as const]),
    ["clusters", names === "" ? "each is made at its first valid push" : names],
    ...spools.map(({ path, cluster }) => ["spool", `${path} for cluster "${cluster}"`] as const),
  ]);
}

function rulesOf({ auth, tls }: Config["server"]): string {
  const rules = `auth = "${auth}"`;
  return tls === undefined ? rules : `TLS, ${rules}`;
}

function placeOf(store: Config["store"]): string {
  if (store.kind === "disk") return `disk ${store.path}`;
  const region = store.region === undefined ? "" : `, region ${store.region}`;
  return `s3 ${store.bucket}/${store.prefix} at ${store.endpoint ?? "AWS"}${region}`;
}

function formatHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
