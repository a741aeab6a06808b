import { execFileSync } from "node:child_process";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConninfo } from "../../src/config/conninfo.ts";

const SURROUNDINGS = { environment: {}, account: { name: "walarc", home: "/var/lib/walarc" } };

function parse(text: string, environment: Record<string, string> = {}) {
  return parseConninfo(text, { ...SURROUNDINGS, environment });
}

const DEFAULTS = {
  host: "/var/run/postgresql",
  hostaddr: undefined,
  port: 5432,
  user: "walarc",
  database: "walarc",
  password: undefined,
  passfile: "/var/lib/walarc/.pgpass",
  sslMode: "prefer",
  sslRootCertFile: undefined,
  sslCertFile: undefined,
  sslKeyFile: undefined,
  applicationName: "walarc",
  connectTimeoutMs: undefined,
  options: undefined,
};

describe("keywords and values", () => {
  test.each<[string, object]>([
    ["", {}],
    ["host=s1 dbname=postgres user=walarc", { host: "s1", database: "postgres" }],
    [" host = s1\tport =\n5433 ", { host: "s1", port: 5433 }],
    ["host=/run/postgresql", { host: "/run/postgresql" }],
    ["hostaddr=10.0.0.1", { host: "10.0.0.1", hostaddr: "10.0.0.1" }],
    ["host=s1 hostaddr=10.0.0.1", { host: "s1", hostaddr: "10.0.0.1" }],
    ["user=u", { user: "u", database: "u" }],
    ["password=''", {}],
    ["password='a b'", { password: "a b" }],
    [String.raw`password='it\'s \\ "x"'`, { password: String.raw`it's \ "x"` }],
    [String.raw`password=a\ b\'c`, { password: "a b'c" }],
    ["password=a=b", { password: "a=b" }],
    ["password=a'b", { password: "a'b" }],
    ["host=a host=b", { host: "b" }],
    ["host= user=u", { host: "user=u" }],
    ["sslmode=verify-full sslrootcert=/c", { sslMode: "verify-full", sslRootCertFile: "/c" }],
    ["application_name=x fallback_application_name=y", { applicationName: "x" }],
    ["fallback_application_name=y", { applicationName: "y" }],
    ["connect_timeout=3", { connectTimeoutMs: 3000 }],
    ["connect_timeout=0", {}],
    ["options='-c geqo=off'", { options: "-c geqo=off" }],
    ["passfile=/p", { passfile: "/p" }],
  ])("%j", (text, expected) => {
    expect(parse(text)).toEqual({ ...DEFAULTS, ...expected });
  });

  test.each<[string, string]>([
    ["host", "not a list"],
    ["host=s1 dbname", "not a list"],
    ["password='open", "not a list"],
    ["password='a'b", "not a list"],
    ["host=a,b", "several hosts"],
    ["port=x", "no port"],
    ["port=0", "no port"],
    ["port=65536", "no port"],
    ["connect_timeout=1.5", "no whole number"],
    ["sslmode=maybe", "unknown sslmode"],
    ["service=x", '"service"'],
    ["hunter2!=x", "something"],
  ])("%j is refused: %s", (text, why) => {
    expect(parse(text)).toEqual({ problem: expect.stringContaining(why) });
    expect(JSON.stringify(parse(text))).not.toContain("hunter2");
  });

  test("what a value is made of does not matter, once it is quoted", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "binary" }), (password) => {
        const quoted = password.replaceAll(/['\\]/g, String.raw`\$&`);
        expect(parse(`host=s1 password = '${quoted}' user=u`)).toMatchObject({
          host: "s1",
          password,
          user: "u",
        });
      }),
    );
  });

  test("any text is a connection or a problem", () => {
    const pieces = fc.constantFrom(
      "host",
      "=",
      " ",
      "'",
      "\\",
      "a",
      "user",
      "postgres://",
      "@",
      "%",
    );
    fc.assert(
      fc.property(
        fc.array(pieces).map((parts) => parts.join("")),
        (text) => {
          const parsed = parse(text);
          expect("problem" in parsed || parsed.port > 0).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("URIs", () => {
  test.each<[string, object]>([
    ["postgresql://", {}],
    ["postgres://s1", { host: "s1" }],
    ["postgresql://s1:5433/db", { host: "s1", port: 5433, database: "db" }],
    ["postgresql://u:p%40ss@s1/db", { user: "u", password: "p@ss", host: "s1", database: "db" }],
    ["postgresql://u@", { user: "u", database: "u" }],
    ["postgresql://[::1]:5433/", { host: "::1", port: 5433 }],
    ["postgresql://%2Frun%2Fpostgresql/db", { host: "/run/postgresql", database: "db" }],
    ["postgresql:///db?host=/run&port=5433", { host: "/run", port: 5433, database: "db" }],
    ["postgresql://s1/db?sslmode=require", { host: "s1", database: "db", sslMode: "require" }],
  ])("%j", (text, expected) => {
    expect(parse(text)).toEqual({ ...DEFAULTS, ...expected });
  });

  test.each<[string, string]>([
    ["postgresql://a,b/db", "several hosts"],
    ["postgresql://a:x/db", "not a connection URI"],
    ["postgresql://a/db?sslmodus=x", '"sslmodus"'],
    ["postgresql://u:%zz@a/db", "begins no escape"],
  ])("%j is refused: %s", (text, why) => {
    expect(parse(text)).toEqual({ problem: expect.stringContaining(why) });
  });
});

test("libpq's variables count where the string says nothing", () => {
  const environment = { PGHOST: "h", PGPORT: "1", PGUSER: "u", PGPASSWORD: "p", PGPASSFILE: "/f" };
  expect(parse("", environment)).toMatchObject({
    host: "h",
    port: 1,
    user: "u",
    database: "u",
    password: "p",
    passfile: "/f",
  });
  expect(parse("host=x port=2", environment)).toMatchObject({ host: "x", port: 2 });
});

/** What libpq itself makes of a string: psql tells in the error where it tried to connect. */
function hostAsPsqlSeesIt(text: string): string | undefined {
  try {
    execFileSync("psql", ["-w", "-c", "select 1", text], { stdio: "pipe", env: process.env });
    return undefined;
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    return /socket "([^"]*)\/\.s\.PGSQL/.exec(stderr?.toString() ?? "")?.[1];
  }
}

const hasPsql = (() => {
  try {
    return execFileSync("psql", ["--version"]).length > 0;
  } catch {
    return false;
  }
})();

test.skipIf(!hasPsql)("quotes and escapes mean what they mean to libpq", () => {
  for (const text of [
    "host=/nowhere/a dbname=x",
    "host = '/nowhere/a b'",
    "host= /nowhere/a user=u",
    String.raw`host='/nowhere/it\'s'`,
    String.raw`host='/nowhere/a\\b'`,
    String.raw`host=/nowhere/a\ b user=u`,
    String.raw`host=/nowhere/a\'b`,
    "host=/nowhere/a'b",
    "postgresql://%2Fnowhere%2Fa%20b/db",
    "postgresql:///db?host=/nowhere/c",
  ]) {
    const parsed = parse(text);
    expect([text, "problem" in parsed ? parsed.problem : parsed.host]).toEqual([
      text,
      hostAsPsqlSeesIt(text),
    ]);
  }
});
