import { describe, expect, test } from "vitest";
import { takeOver } from "../../src/config/changes.ts";
import { parseConfig } from "../../src/config/parser.ts";
import { token } from "./sources.ts";

const TLS = '[server.tls]\ncert_file = "/c"\nkey_file = "/k"\n';
const STORE = '[store]\npath = "/archive"\n';
const MAIN = '[clusters.main]\nsystem_identifier = "7"\n';

function change(before: string, after: string): ReturnType<typeof takeOver> {
  return takeOver(parseConfig(before), parseConfig(after));
}

describe("a restart is needed for", () => {
  test.each([
    ["another address", STORE, `${STORE}[server]\nlisten = "[::1]:1"`, ["server.listen"]],
    ["another socket", STORE, `${STORE}[server]\nsocket = ""`, ["server.socket"]],
    ["another mode", STORE, `${STORE}[server]\nsocket_mode = "0600"`, ["server.socket"]],
    ["grace", STORE, `${STORE}[server]\nshutdown_grace = "1s"`, ["server.shutdown_grace"]],
    ["TLS", STORE, STORE + TLS, ["server.tls"]],
    ["no TLS", STORE + TLS, STORE, ["server.tls"]],
    ["client certificates", STORE + TLS, `${STORE}${TLS}client_ca_file = "/a"`, ["server.tls"]],
    ["another store", STORE, '[store]\npath = "/b"', ["store"]],
    ["another level", STORE, `${STORE}compression_level = 3`, ["store"]],
    ["identity", STORE + MAIN, STORE + MAIN.replace("7", "8"), ["clusters.main.system_identifier"]],
    [
      "another data directory",
      STORE + MAIN,
      `${STORE}${MAIN}data_directory = "/d"`,
      ["clusters.main.data_directory"],
    ],
  ])("%s, and it stays what it was", (_what, before, after, keys) => {
    const { config, needsRestart } = change(before, after);
    expect(needsRestart).toEqual(keys);
    expect({ ...config, warnings: [] }).toEqual({ ...parseConfig(before), warnings: [] });
  });
});

describe("without a restart go", () => {
  test.each([
    ["tokens", STORE, STORE + token()],
    ["rules", STORE, `${STORE}[server]\nauth = "none"\nloopback_read = false`],
    ["certificates", STORE + TLS, STORE + TLS.replace("/c", "/d").replace("/k", "/l")],
    ["clusters", STORE, `${STORE}${MAIN}data_directory = "/d"`],
    ["retention", STORE + MAIN, `${STORE}${MAIN}[clusters.main.retention]\nkeep_backups = 9`],
    ["standbys", STORE + MAIN, `${STORE}${MAIN}[clusters.main.standbys.s1]`],
    ["spools", STORE, `${STORE}[[spool]]\npath = "/s"\ncluster = "main"`],
    ["the level of the log", STORE, `${STORE}[log]\nlevel = "debug"`],
  ])("%s", (_what, before, after) => {
    expect(change(before, after)).toEqual({ config: parseConfig(after), needsRestart: [] });
    expect(change(after, before)).toEqual({ config: parseConfig(before), needsRestart: [] });
  });
});
