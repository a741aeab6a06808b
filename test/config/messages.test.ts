import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config/parser.ts";
import { DIGEST, problemsOf, STORE, token } from "./sources.ts";

describe("each rule has its own message", () => {
  const NAME = "a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit";
  const LISTEN =
    "is not an address and port; " +
    'write 127.0.0.1:8417, [::1]:8417, or 0.0.0.0:8417 for every address; "" for none';

  const PATH = "is not an absolute path; write it from the root: /var/lib/walarc";

  test.each([
    [
      "tabel = 1",
      "tabel: is not a known key; " +
        "known here: server, store, tokens, certificates, clusters, spool, log, client",
    ],
    ["[sever]", 'sever: is not a known key; did you mean "server"?'],
    ["server = 5", "server: 5 is not a table"],
    ["server = 1979-05-27", "server: is a date, which no key takes"],
    ['[server]\nlisten = "8417"', `server.listen: "8417" ${LISTEN}`],
    ['[server]\nlisten = ":8417"', `server.listen: ":8417" ${LISTEN}`],
    ['[server]\nlisten = "*:8417"', `server.listen: "*:8417" ${LISTEN}`],
    ['[server]\nlisten = "::1:8417"', `server.listen: "::1:8417" ${LISTEN}`],
    ['[server]\nlisten = "[127.0.0.1]:1"', `server.listen: "[127.0.0.1]:1" ${LISTEN}`],
    ['[server]\nlisten = "127.1:8417"', `server.listen: "127.1:8417" ${LISTEN}`],
    ['[server]\nlisten = "a:65536"', `server.listen: "a:65536" ${LISTEN}`],
    ["[server]\nlisten = 8417", `server.listen: 8417 ${LISTEN}`],
    [
      '[server]\nsocket = "walarc.sock"',
      'server.socket: "walarc.sock" is not an absolute path of at most 107 bytes; ' +
        "write it from the root: /run/walarc/walarc.sock",
    ],
    [
      "[server]\nsocket_mode = 0o660",
      'server.socket_mode: 432 is not a file mode; write three octal digits in quotes: "0660"',
    ],
    [
      '[server]\nsokcet_mode = "0660"',
      'server.sokcet_mode: is not a known key; did you mean "socket_mode"?',
    ],
    [
      '[server]\nauth = "tokens"',
      'server.auth: "tokens" is not one of "token", "none"; did you mean "token"?',
    ],
    ['[server]\nloopback_read = "yes"', 'server.loopback_read: "yes" is not true or false'],
    [
      "[server]\nshutdown_grace = 20",
      "server.shutdown_grace: 20 is not a duration; write 30s, 5m, 12h or 7d",
    ],
    ['[server]\nshutdown_grace = "2h"', 'server.shutdown_grace: "2h" is more than 1h'],
    [
      '[server]\nlisten = ""\nsocket = ""',
      "server: listen and socket are both empty, so nobody could connect",
    ],
    ['[server.tls]\ncert_file = "/c"', "server.tls.key_file: is missing beside cert_file"],
    ['[server.tls]\nkey_file = "/k"', "server.tls.cert_file: is missing beside key_file"],
    [
      '[server.tls]\nclient_ca_file = "/c"',
      "server.tls.client_ca_file: is of no use without cert_file and key_file",
    ],
    [
      '[server]\nlisten = ""\n[server.tls]\ncert_file = "/c"\nkey_file = "/k"',
      "server.tls.cert_file: is of no use while server.listen is empty",
    ],
    [
      token({ name: "a b" }),
      'tokens[0].name: "a b" is not a token\'s name; ' +
        "1 to 63 letters, digits, dots, dashes and underscores",
    ],
    [
      token({ sha256: "12" }),
      'tokens[0].sha256: "12" is not a SHA-256; ' +
        "it has 64 hexadecimal digits; walarc token prints one",
    ],
    [token({ clusters: "[]" }), "tokens[0].clusters: names none"],
    [
      token({ clusters: '["Main"]' }),
      `tokens[0].clusters[0]: "Main" is not a cluster name; ${NAME}`,
    ],
    [token({ clusters: '"main"' }), 'tokens[0].clusters: "main" is not a list'],
    [
      token({ scopes: '["pull"]' }),
      'tokens[0].scopes[0]: "pull" is not one of "push", "fetch", "report", "read", "admin"',
    ],
    [token({ scopes: '["push", "push"]' }), 'tokens[0].scopes: names "push" twice'],
    [token() + token({ sha256: "cd".repeat(32) }), "tokens[1].name: is the same as of tokens[0]"],
    [
      token() + token({ name: "other", sha256: DIGEST.toUpperCase() }),
      "tokens[1].sha256: is the same as of tokens[0]",
    ],
    [
      `${token({ clusters: '["man"]' })}[clusters.main]`,
      'tokens[0].clusters[0]: "man" is none of the configured clusters; add [clusters.man]',
    ],
    [
      `${token({ clusters: '["Main"]' })}[clusters.main]`,
      `tokens[0].clusters[0]: "Main" is not a cluster name; ${NAME}`,
    ],
    ['[clusters."No Name"]', `clusters."No Name": is not a cluster name; ${NAME}`],
    ["[clusters]\nmain = 1", "clusters.main: 1 is not a table"],
    [
      '[clusters.main]\nsystem_identifier = "0"',
      'clusters.main.system_identifier: "0" is not a system identifier; ' +
        "pg_controldata prints it: a whole number of up to 20 digits",
    ],
    [
      '[clusters.main]\nsystem_identifier = "18446744073709551616"',
      'clusters.main.system_identifier: "18446744073709551616" is not a system identifier; ' +
        "pg_controldata prints it: a whole number of up to 20 digits",
    ],
    [
      "[clusters.main]\nsystem_identifier = 1.5",
      "clusters.main.system_identifier: 1.5 is not a system identifier; " +
        "pg_controldata prints it: a whole number of up to 20 digits",
    ],
    [
      '[clusters.main]\ndata_directory = "data"',
      'clusters.main.data_directory: "data" is not an absolute path; ' +
        "write it from the root: /var/lib/walarc",
    ],
    [
      '[clusters.main.retention]\nkeep_for = "7x"',
      'clusters.main.retention.keep_for: "7x" is not a duration; write 30s, 5m, 12h or 7d',
    ],
    [
      '[clusters.main.retention]\nkeep_bytes = "500gb"',
      'clusters.main.retention.keep_bytes: "500gb" is not a size; write 512MB, 500GB or 2TB',
    ],
    [
      "[clusters.main.retention]\nkeep_bytes = 10",
      "clusters.main.retention.keep_bytes: 10 is less than 1MB",
    ],
    [
      "[clusters.main.retention]\nkeep_backups = -1",
      "clusters.main.retention.keep_backups: -1 is not between 0 and 10000",
    ],
    [
      "[clusters.main.retention]\nkeep_backups = 1.5",
      "clusters.main.retention.keep_backups: 1.5 is not a whole number",
    ],
    [
      '[clusters.main.retention]\nstale_policy = "drop"',
      'clusters.main.retention.stale_policy: "drop" is not one of "hold", "release"',
    ],
    [
      '[clusters.main.retention]\ninterval = "1ms"',
      'clusters.main.retention.interval: "1ms" is less than 100ms',
    ],
    [
      "[clusters.main.standbys.S1]",
      "clusters.main.standbys.S1: is not a standby's name; " +
        "a name is 1 to 100 of a-z, 0-9, dot, _ and -, and begins with a letter or digit",
    ],
    [
      '[clusters.main.standbys.s1]\nconninfo = "host=a,b"',
      "clusters.main.standbys.s1.conninfo: names several hosts",
    ],
    [
      "[clusters.main.standbys.s1]\nconninfo = 1",
      "clusters.main.standbys.s1.conninfo: 1 is not a text; write it in quotes",
    ],
    ["[spool]", "spool: a table is not a list"],
    [
      '[clusters.main]\n[[spool]]\npath = "/s"\ncluster = "other"',
      'spool[0].cluster: "other" is none of the configured clusters; add [clusters.other]',
    ],
    [
      '[[spool]]\npath = "/s"\ncluster = "a"\n[[spool]]\npath = "/s"\ncluster = "b"',
      "spool[1].path: is the same as of spool[0]",
    ],
    [
      '[[spool]]\npath = "/s/a/"\ncluster = "a"\n[[spool]]\npath = "/s//a"\ncluster = "b"',
      "spool[1].path: is the same as of spool[0]",
    ],
    [
      '[[spool]]\npath = "/s"\ncluster = "a"\n[[spool]]\npath = "/s/b"\ncluster = "b"',
      "spool[1].path: lies in spool[0]",
    ],
    [
      '[[spool]]\npath = "/s/a"\ncluster = "a"\n[[spool]]\npath = "/s"\ncluster = "b"',
      "spool[1].path: holds spool[0]",
    ],
    [
      '[server]\nsocket = "/s/walarc.sock"\n[[spool]]\npath = "/s"\ncluster = "a"',
      'spool[0].path: "/s" holds server.socket; choose another place',
    ],
    [
      '[server]\nsocket = ""\n[[spool]]\npath = "/"\ncluster = "a"',
      'spool[0].path: the store lies in "/"; choose another place',
    ],
    [
      '[[spool]]\npath = "/archive/spool"\ncluster = "a"',
      'spool[0].path: "/archive/spool" lies in the store; choose another place',
    ],
    [
      '[log]\nlevel = "verbose"',
      'log.level: "verbose" is not one of "trace", "debug", "info", "warn", "error", "fatal"',
    ],
    [
      '[client]\nserver = "http://host/path"',
      'client.server: "http://host/path" is not a server URL; ' +
        "write unix:/path, http://HOST:PORT or https://HOST:PORT",
    ],
    [
      "[client]\ntimeout = 0",
      'client.timeout: 0 is not a number of seconds or a duration; write 30 or "2m"',
    ],
    ['[client]\ncert_file = "/c"', "client.key_file: is missing beside cert_file"],
  ])("%j", (text, problem) => {
    expect(problemsOf(STORE + text)).toEqual([problem]);
  });

  test.each([
    ['path = "archive"', `store.path: "archive" ${PATH}`],
    ['path = ""', `store.path: "" ${PATH}`],
    ['path = "/a\\u0000b"', `store.path: "/a\\u0000b" ${PATH}`],
    ['path = "/a"\ncompression_level = 20', "store.compression_level: 20 is not between -7 and 19"],
    ['path = "/a"\nbucket = "wal"', 'store.bucket: belongs to a store of kind "s3"'],
    ['kind = "s3"\nbucket = "wal"\npath = "/a"', 'store.path: belongs to a store of kind "disk"'],
    ['kind = "s3"', "store.bucket: is missing"],
    [
      'kind = "S3"\nbucket = "wal"',
      'store.kind: "S3" is not one of "disk", "s3"; did you mean "s3"?',
    ],
    [
      'kind = "s3"\nbucket = "a"',
      'store.bucket: "a" is not the name of a bucket; 3 to 63 letters, digits, dots and dashes',
    ],
    [
      'kind = "s3"\nbucket = "wal"\nendpoint = "s3.example.com"',
      'store.endpoint: "s3.example.com" is not an endpoint; ' +
        "write http://HOST:PORT or https://HOST, without credentials",
    ],
    [
      'kind = "s3"\nbucket = "wal"\nprefix = "/a"',
      'store.prefix: "/a" is not a prefix of object keys; it must not begin with /',
    ],
  ])("[store] %j", (text, problem) => {
    expect(problemsOf(`[store]\n${text}`)).toEqual([problem]);
  });

  test.each([
    ["[store]\npath = /archive", /^line 2, column 8: /],
    ['[store]\npath = "/a"\npath = "/b"', /^line 3, column \d+: /],
    ["a = [", /^line 1, column \d+: /],
    ["\u0000", /^line 1, column 1: /],
  ])("TOML: %j", (text, problem) => {
    expect(problemsOf(text)).toEqual([expect.stringMatching(problem)]);
  });
});

test("all problems of a file come in one message, those between keys among them", () => {
  const text = `
surprise = 1
[server]
auth = "nobody"
[server.tls]
cert_file = "/c"
[store]
path = "relative"
${token({ clusters: '["nowhere"]', sha256: "12" })}
${token({ scopes: "[]" })}
[clusters.main.retention]
keep_for = "7x"
`;
  expect(problemsOf(text).map((problem) => problem.split(": ")[0])).toEqual([
    "surprise",
    "server.auth",
    "store.path",
    "tokens[0].sha256",
    "tokens[1].scopes",
    "clusters.main.retention.keep_for",
    "server.tls.key_file",
    "tokens[0].clusters[0]",
    "tokens[1].name",
  ]);
  expect(() => parseConfig(text)).toThrow(/^9 problems\nsurprise: .*\nserver\.auth: /);
});
