import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseCommandLine, resolveClientOptions } from "../../src/cli/options.ts";

const FETCH = {
  command: "fetch",
  positionals: ["NAME", "DESTINATION"],
  flags: { "on-error": "string" },
} as const;

const directory = mkdtempSync(join(tmpdir(), "walarc-options-"));
afterAll(() => rmSync(directory, { recursive: true }));

function write(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const NO_FILE = write("none.toml", "");

/** Options as flags, environment and file would give them; no file of this machine is read. */
async function resolve(
  flags: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string>> = {},
) {
  return await resolveClientOptions({ values: flags }, { WALARC_CONFIG: NO_FILE, ...environment });
}

describe("a command line", () => {
  test("has arguments and options in any order", () => {
    const line = parseCommandLine(
      ["--cluster=a", "NAME", "--on-error", "stop", "--verbose", "--", "--there"],
      FETCH,
    );
    expect(line.positionals).toEqual(["NAME", "--there"]);
    expect(line.values).toEqual({ cluster: "a", "on-error": "stop" });
    expect([...line.switches]).toEqual(["verbose"]);
  });

  test("that asks for help needs no arguments", () => {
    for (const flag of ["--help", "-h"]) {
      expect([...parseCommandLine([flag], FETCH).switches]).toEqual(["help"]);
    }
  });

  test.each([
    [["a"], "missing DESTINATION", "usage: walarc fetch NAME DESTINATION"],
    [["a", "b", "c"], 'unexpected argument "c"', "usage: walarc fetch NAME DESTINATION"],
    [["a", ""], "DESTINATION is empty", "usage: walarc fetch NAME DESTINATION"],
    [["a", "b", "--sever", "x"], 'unknown option "--sever"', "did you mean --server?"],
    [["a", "b", "-x"], 'unknown option "-x"', "see walarc fetch --help"],
    [["a", "b", "--json"], 'unknown option "--json"', "see walarc fetch --help"],
    [["a", "b", "--server"], "--server needs a value", undefined],
    [["a", "b", "--server="], "--server needs a value", undefined],
    [
      ["a", "b", "--server", "--verbose"],
      "--server needs a value",
      "write --server=--verbose if that is the value",
    ],
    [["a", "b", "--verbose=yes"], "--verbose takes no value", undefined],
  ])("%j is refused", (args, message, hint) => {
    expect(() => parseCommandLine(args, FETCH)).toThrow(
      expect.objectContaining({ code: "usage", message, hint }),
    );
  });

  test("of a command that calls nobody knows none of the client's options", () => {
    const shape = { command: "token", positionals: [], kind: "local" } as const;
    expect(() => parseCommandLine(["--server", "x"], shape)).toThrow(/unknown option "--server"/);
  });
});

describe("client options", () => {
  test("have defaults", async () => {
    expect(await resolve({})).toEqual({
      server: { kind: "tcp", host: "127.0.0.1", port: 8417, tls: false },
      cluster: "main",
      isClusterNamed: false,
      token: undefined,
      tls: { caFile: undefined, certFile: undefined, keyFile: undefined },
      timeoutMs: undefined,
      prefetchBytes: undefined,
      lookAheadBytes: undefined,
      configFile: NO_FILE,
    });
  });

  test("a flag wins over the environment, which wins over the file", async () => {
    const config = write("client.toml", '[client]\ncluster = "file"\ntimeout = 7\n');
    const environment = { WALARC_CONFIG: config };
    expect(await resolve({}, environment)).toMatchObject({ cluster: "file", timeoutMs: 7000 });
    const both = { ...environment, WALARC_CLUSTER: "environment", WALARC_TIMEOUT: "" };
    expect(await resolve({}, both)).toMatchObject({ cluster: "environment", timeoutMs: 7000 });
    const flags = { cluster: "flag", timeout: "0.25" };
    expect(await resolve(flags, both)).toMatchObject({
      cluster: "flag",
      isClusterNamed: true,
      timeoutMs: 250,
      configFile: config,
    });
    expect((await resolve({ config: NO_FILE }, both)).timeoutMs).toBeUndefined();
  });

  test("all of them may stand in the file, and the daemon's tables beside them", async () => {
    const token = write("token", "walarc_secret\n");
    const config = write(
      "all.toml",
      `[store]
path = "not even checked here"
[client]
server = "https://[::1]:9"
cluster = "c"
token_file = "${token}"
ca_file = "/ca"
cert_file = "/cert"
key_file = "/key"
timeout = "2m"
prefetch = "1GB"
look_ahead = 0
`,
    );
    expect(await resolve({ config })).toEqual({
      server: { kind: "tcp", host: "::1", port: 9, tls: true },
      cluster: "c",
      isClusterNamed: true,
      token: "walarc_secret",
      tls: { caFile: "/ca", certFile: "/cert", keyFile: "/key" },
      timeoutMs: 120_000,
      prefetchBytes: 1024 ** 3,
      lookAheadBytes: 0,
      configFile: config,
    });
  });

  test("a file that does not speak to clients is not even parsed", async () => {
    const config = write("daemon.toml", "[server.tls]\nclient_ca_file = ]broken[\n");
    expect((await resolve({ config })).cluster).toBe("main");
    const escaped = write("escaped.toml", '["\\u0063lient"]\ncluster = "c"\n');
    expect((await resolve({ config: escaped })).cluster).toBe("c");
  });

  test.each([
    ["[client]\ncluster = ]", /is not TOML: /],
    ['[client]\nclutser = "a"', /^client\.clutser in ".*" is not a known key$/],
    ["[client]\ncluster = 1", /^client\.cluster in ".*" is not a text$/],
    ["client = 1", /^client in ".*" is not a table$/],
    ['[client]\ncluster = "A"', /^client\.cluster in .*: "A" is not a cluster name$/],
  ])("the file %j is refused", async (text, message) => {
    const config = write("bad.toml", text);
    await expect(resolve({ config })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(message),
    });
  });

  test("a named file must be readable, and so must the default one if it is there", async () => {
    await expect(resolve({ config: join(directory, "missing") })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^cannot read the configuration file ".*missing" \(ENOENT\)$/),
    });
    await expect(resolve({ config: directory })).rejects.toThrow(/\(EISDIR\)/);
  });

  test.each([
    ["unix:/run/a.sock", { kind: "unix", path: "/run/a.sock" }],
    ["unix:///run/a.sock", { kind: "unix", path: "/run/a.sock" }],
    ["http://db1", { kind: "tcp", host: "db1", port: 80, tls: false }],
    ["http://db1:8417/", { kind: "tcp", host: "db1", port: 8417, tls: false }],
    ["HTTPS://DB1", { kind: "tcp", host: "db1", port: 443, tls: true }],
    ["https://[fe80::1]:8417", { kind: "tcp", host: "fe80::1", port: 8417, tls: true }],
  ])("the server %s", async (url, server) => {
    expect((await resolve({ server: url })).server).toEqual(server);
  });

  test.each([
    ["", /^--server "" is not a server URL$/],
    ["db1:8417", /is not a server URL$/],
    ["ftp://db1", /is not a server URL$/],
    ["http://", /is not a server URL$/],
    ["http://db1:99999", /is not a server URL$/],
    ["http://db1:0", /has port 0$/],
    ["http://db1/archive", /has more than a host and a port$/],
    ["http://db1?x", /has more than a host and a port$/],
    ["unix:run/a.sock", /is not an absolute socket path$/],
    ["unix://run/a.sock", /is not an absolute socket path$/],
    ["unix:/", /is not an absolute socket path$/],
    [`unix:/${"x".repeat(107)}`, /is longer than a socket path may be \(107 bytes\)$/],
    ["http://me:secret@db1", /^--server holds a user name or password$/],
  ])("the server %j is refused, and a password in it is not repeated", async (url, message) => {
    await expect(resolve({ server: url })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(message),
    });
  });

  test.each(["0", "-1", "", "1e3", "ten", "0s", "2147484", "25d", "1:00", "Infinity"])(
    "the timeout %j is refused",
    async (timeout) => {
      await expect(resolve({ timeout })).rejects.toMatchObject({ code: "usage" });
    },
  );

  test("a certificate goes with a key", async () => {
    await expect(resolve({ "cert-file": "/c" })).rejects.toThrow(
      "--cert-file is given without --key-file",
    );
    await expect(resolve({}, { WALARC_KEY_FILE: "/k" })).rejects.toThrow(
      "WALARC_KEY_FILE is given without --cert-file",
    );
  });

  test.each([
    ["\n", "usage", /is empty$/],
    ["one two", "usage", /holds more than one token$/],
    ["one\ntwo\n", "usage", /holds more than one token$/],
    ["evil\rX-Header: 1", "usage", /holds more than one token$/],
    ["nul\0", "usage", /holds more than one token$/],
    ["schlüssel", "usage", /holds more than one token$/],
  ])(
    "a token file with %j is refused, and its content is not shown",
    async (text, code, message) => {
      const path = write("bad-token", text);
      await expect(resolve({ "token-file": path })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
    },
  );

  test("a token file that cannot be read is a local failure", async () => {
    await expect(resolve({ "token-file": join(directory, "missing") })).rejects.toMatchObject({
      code: "local",
      message: expect.stringContaining("missing"),
      hint: expect.stringContaining("--token-file names it"),
    });
    const secret = write("secret", "walarc_x");
    chmodSync(secret, 0o400);
    expect((await resolve({}, { WALARC_TOKEN_FILE: secret })).token).toBe("walarc_x");
  });
});
