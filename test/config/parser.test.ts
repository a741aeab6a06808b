import { describe, expect, test } from "vitest";
import type { Config } from "../../src/config/config.ts";
import { checkClientFile, defaultConfig, parseConfig } from "../../src/config/parser.ts";
import { DIGEST, problemsOf, STORE, token } from "./sources.ts";

test("a file needs to say where the store is, and the rest has defaults", () => {
  expect(parseConfig(STORE)).toEqual({
    server: {
      listen: { host: "127.0.0.1", port: 8417 },
      socket: { path: "/run/walarc/walarc.sock", mode: 0o660 },
      auth: "token",
      loopbackRead: true,
      shutdownGraceMs: 20_000,
      tls: undefined,
    },
    store: { kind: "disk", path: "/archive", compressionLevel: 1 },
    tokens: [],
    certificates: [],
    clusters: new Map(),
    spools: [],
    log: { level: "info" },
    warnings: [],
    embeddedDirectory: undefined,
  } satisfies Config);
  expect(problemsOf("")).toEqual(["store: is missing"]);
  expect(problemsOf("[store]")).toEqual(["store.path: is missing"]);
});

test("every value of a file arrives with its unit", () => {
  const config = parseConfig(`
[server]
listen = "[::1]:0"
socket = ""
auth = "none"
loopback_read = false
shutdown_grace = "1m"
[store]
kind = "disk"
path = "/archive"
compression_level = -7
[[tokens]]
name = "db1.example"
sha256 = "${DIGEST.toUpperCase()}"
clusters = ["main", "*"]
scopes = ["push", "fetch", "report", "read", "admin"]
[clusters.main]
system_identifier = "18446744073709551615"
[clusters.constructor]
system_identifier = 7312345678901234567
[log]
level = "trace"
[client]
server = "https://archive.example"
timeout = 0.5
`);
  expect(config.server).toEqual({
    listen: { host: "::1", port: 0 },
    socket: undefined,
    auth: "none",
    loopbackRead: false,
    shutdownGraceMs: 60_000,
    tls: undefined,
  });
  expect(config.store).toEqual({ kind: "disk", path: "/archive", compressionLevel: -7 });
  expect(config.tokens).toEqual([
    {
      name: "db1.example",
      sha256: DIGEST,
      clusters: ["main", "*"],
      scopes: ["push", "fetch", "report", "read", "admin"],
    },
  ]);
  expect(
    [...config.clusters].map(([name, { systemIdentifier }]) => [name, systemIdentifier]),
  ).toEqual([
    ["main", "18446744073709551615"],
    ["constructor", "7312345678901234567"],
  ]);
  expect(config.clusters.get("main")?.retention).toEqual({
    intervalMs: 60_000,
    keepBackups: 2,
    keepForMs: undefined,
    keepBytes: undefined,
    staleAfterMs: 86_400_000,
    stalePolicy: "hold",
  });
  expect(config.log.level).toBe("trace");
});

test("without a file everything is below the working directory, for its owner alone", () => {
  const config = defaultConfig("/home/me");
  expect(config.embeddedDirectory).toBe("/home/me/walarc-data");
  expect(config.store).toMatchObject({ kind: "disk", path: "/home/me/walarc-data/store" });
  expect(config.server.socket).toEqual({ path: "/home/me/walarc-data/walarc.sock", mode: 0o600 });
  expect(config.server.listen).toEqual({ host: "127.0.0.1", port: 8417 });
  expect(() => defaultConfig(`/${"x".repeat(100)}`)).toThrow(/server\.socket: .* 107 bytes/);
});

test("an empty key of the other kind of store may stand there: it is not given", () => {
  expect(
    parseConfig('[store]\nkind = "disk"\npath = "/a"\nbucket = ""\nregion = ""').store,
  ).toEqual({
    kind: "disk",
    path: "/a",
    compressionLevel: 1,
  });
});

test("a table whose keys are all empty is no wish", () => {
  const text = '[server.tls]\ncert_file = ""\nkey_file = ""\nclient_ca_file = ""\n';
  expect(problemsOf(`${STORE}${text}[clusters.main.retention]\ninterval = "1m"`)).toEqual([]);
});

test("the prefix of a bucket ends in a slash, so that no other prefix begins with it", () => {
  const prefixIn = (text: string): unknown => {
    const { store } = parseConfig(`[store]\nkind = "s3"\nbucket = "wal"\nprefix = "${text}"`);
    return store.kind === "s3" ? store.prefix : undefined;
  };
  expect(["", "a", "a/", "a/b"].map(prefixIn)).toEqual(["", "a/", "a/", "a/b/"]);
});

describe("what is allowed and rarely meant is a warning", () => {
  const TLS = '[server.tls]\ncert_file = "/c"\nkey_file = "/k"\n';
  const CERTIFICATE = '[[certificates]]\nname = "db1"\nclusters = ["*"]\nscopes = ["push"]\n';
  const OPEN = '[server]\nlisten = "0.0.0.0:8417"\n';

  test.each([
    [`${OPEN}auth = "none"`, [/^server\.auth: "none" lets everybody/]],
    [OPEN, [/^server\.listen: tokens travel unencrypted/, /^tokens: without one, nobody can use/]],
    [OPEN + token(), [/^server\.listen: tokens travel unencrypted/]],
    [`[server]\nauth = "none"\n${token()}`, [/^tokens: nobody needs one/]],
    [`${TLS}client_ca_file = "/a"`, [/^server\.tls\.client_ca_file: without \[\[certificates\]\]/]],
    [`${TLS}client_ca_file = "/a"\n${CERTIFICATE}`, []],
    [
      `[server]\nauth = "none"\n${TLS}client_ca_file = "/a"`,
      [/^server\.tls\.client_ca_file: nobody needs a certificate/],
    ],
    [`${OPEN}${TLS}client_ca_file = "/a"\n${CERTIFICATE}`, []],
    ['[server]\nsocket_mode = "0666"', [/^server\.socket_mode: "0666" lets every user/]],
    ['[server]\nlisten = "127.0.0.2:1"\nauth = "none"', []],
    ['[server]\nlisten = "[::1]:1"', []],
    ['[server]\nlisten = "localhost:1"', []],
  ])("%j", (text, warnings) => {
    expect(parseConfig(STORE + text).warnings).toEqual(
      warnings.map((warning) => expect.stringMatching(warning)),
    );
  });
});

test("a file with nothing but [client] is a client's", () => {
  expect(checkClientFile('[client]\nserver = "unix:/s"')).toBe(true);
  expect(checkClientFile(`${STORE}[client]`)).toBe(false);
  expect(checkClientFile("")).toBe(false);
  expect(() => checkClientFile('[client]\nsever = "unix:/s"')).toThrow(/client\.sever: .*"server"/);
});

test("a push rate has defaults for what lifts it, and without a limit there is none", () => {
  const rateOf = (keys: string) =>
    parseConfig(`${STORE}[clusters.main.push]\n${keys}`).clusters.get("main")?.pushRate;
  expect(rateOf('rate_limit = "50MB"')).toEqual({
    bytesPerSecond: 50 * 1024 * 1024,
    catchUpAfterMs: 300_000,
    catchUpFiles: 64,
  });
  const all = 'rate_limit = 2000000\ncatch_up_after = "10s"\ncatch_up_files = 3';
  expect(rateOf(all)).toEqual({ bytesPerSecond: 2e6, catchUpAfterMs: 10_000, catchUpFiles: 3 });
  expect(rateOf('rate_limit = ""')).toBeUndefined();
  expect(rateOf("catch_up_files = 3")).toBeUndefined();
  const place = "clusters.main.push";
  expect(problemsOf(`${STORE}[${place}]\nrate_limit = "10kB"\ncatch_up_files = 0`)).toEqual([
    `${place}.rate_limit: "10kB" is less than 1MB`,
    `${place}.catch_up_files: 0 is not between 1 and 1000000`,
  ]);
});
