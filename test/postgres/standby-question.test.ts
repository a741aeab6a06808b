/** The daemon's question to a server, put to real ones: who answers, how, and what is no answer. */
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseConninfo } from "../../src/config/conninfo.ts";
import { askServer, type ServerAnswer } from "../../src/postgres/standby-question.ts";
import { requireCommand } from "../support/child.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene } from "../support/scene.ts";

const signal = new AbortController().signal;

/** A loopback address of its own, where nothing else has PostgreSQL's port. */
const ADDRESS = "127.77.0.1";

function ask(conninfo: string, options = { signal }): Promise<ServerAnswer> {
  const account = { name: "postgres", home: "/nowhere" };
  const server = parseConninfo(conninfo, { environment: {}, account });
  if ("problem" in server) throw new Error(server.problem);
  return askServer(server, options);
}

/** What a failure says, which must never be a secret. */
async function refusal(conninfo: string): Promise<string> {
  const failure = await ask(conninfo).then(
    () => undefined,
    (error: unknown) => error as { code: string; message: string },
  );
  expect(failure?.code).toBe("unreachable");
  expect(failure?.message).not.toContain("hunter2");
  return failure?.message ?? "";
}

describeScene("the question for a restart point", (scene) => {
  let primary: PostgresCluster;
  let systemIdentifier: string;
  test("a primary says that it is one, a standby tells its restart point", async () => {
    const daemon = await scene().daemon();
    primary = await scene().primary({
      name: "primary",
      server: daemon.url,
      settings: { listen_addresses: ADDRESS },
    });
    const backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    const standby = await scene().standby(backup, {
      name: "standby",
      server: daemon.url,
      settings: { listen_addresses: "" },
    });
    systemIdentifier = await primary.controlData("Database system identifier");
    expect(await ask(`host=${primary.socketDirectory}`)).toMatchObject({
      role: "primary",
      systemIdentifier,
    });
    expect(await ask(`host=${standby.socketDirectory} user=postgres dbname=postgres`)).toEqual({
      role: "standby",
      systemIdentifier,
      restartPoint: await standby.controlData("Latest checkpoint's REDO WAL file"),
    });
    await standby.stop();
  });

  test("any role may ask, also one with a password in a file", async () => {
    await primary.query("create role walarc login password 'hunter2'");
    await restrictAccess("scram-sha-256");
    const where = `host=${ADDRESS} user=walarc dbname=postgres`;
    expect(await ask(`${where} password='hunter2'`)).toMatchObject({ role: "primary" });

    const passfile = scene().workspace.path("passfile");
    await writeFile(passfile, `${ADDRESS}:5432:*:walarc:hunter2\n`, { mode: 0o600 });
    expect(await ask(`${where} passfile=${passfile}`)).toMatchObject({ role: "primary" });

    expect(await refusal(`${where} password=hunter22`)).toContain("password authentication failed");
    expect(await refusal(where)).toMatch(/password/);
  });

  test("sslmode means what it means to libpq", async () => {
    const certificate = await serverCertificate("localhost");
    await primary.configure({
      ssl: "on",
      ssl_cert_file: certificate,
      ssl_key_file: keyOf(certificate),
    });
    await primary.restart();
    const where = `user=walarc dbname=postgres password=hunter2`;
    const local = `host=localhost hostaddr=${ADDRESS} ${where}`;
    const byAddress = `host=${ADDRESS} ${where}`;

    for (const mode of ["disable", "allow", "prefer", "require"]) {
      expect(await ask(`${local} sslmode=${mode}`)).toMatchObject({ role: "primary" });
    }
    const root = `sslrootcert=${certificate}`;
    for (const mode of ["require", "verify-ca", "verify-full"]) {
      expect(await ask(`${local} sslmode=${mode} ${root}`)).toMatchObject({ role: "primary" });
    }
    expect(await ask(`${byAddress} sslmode=verify-ca ${root}`)).toMatchObject({ role: "primary" });
    await refusal(`${byAddress} sslmode=verify-full ${root}`);
    await refusal(`${local} sslmode=verify-full`);
    const stranger = await serverCertificate("stranger");
    await refusal(`${local} sslmode=verify-ca sslrootcert=${stranger}`);
    await refusal(`${local} sslmode=require sslrootcert=${stranger}`);

    await restrictAccess("scram-sha-256", "hostssl");
    expect(await ask(`${local} sslmode=allow`)).toMatchObject({ role: "primary" });
    expect(await refusal(`${local} sslmode=disable`)).toContain("pg_hba.conf");
    await primary.configure({ ssl: "off" });
    await restrictAccess("scram-sha-256");
    await primary.restart();
    expect(await ask(`${local} sslmode=prefer`)).toMatchObject({ role: "primary" });
    expect(await refusal(`${local} sslmode=require`)).toMatch(/SSL/);
  });

  test("silence, strangers and refusals are told within the time, and leave nothing open", async () => {
    const open = new Set<object>();
    const mute = createServer((socket) => {
      open.add(socket);
      socket
        .resume()
        .on("error", () => {})
        .once("close", () => open.delete(socket));
    });
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    const { port: mutePort } = mute.address() as { port: number };
    const startMs = performance.now();
    const where = `host=127.0.0.1 port=${mutePort} sslmode=disable`;
    expect(await refusal(`${where} connect_timeout=1`)).toMatch(/timeout/i);
    expect(performance.now() - startMs).toBeLessThan(4000);

    const end = new AbortController();
    const asking = ask(where, { signal: end.signal });
    setTimeout(() => end.abort(new Error("shutting down")), 200);
    await expect(asking).rejects.toThrow("shutting down");
    await expect.poll(() => open.size).toBe(0);
    await new Promise((resolve) => mute.close(resolve));

    expect(await refusal("host=/nowhere")).toContain("ENOENT");
    expect(await refusal(`host=127.0.0.1 port=${mutePort}`)).toContain("ECONNREFUSED");
    expect(await refusal(`host=${primary.socketDirectory} dbname=none`)).toContain(
      "does not exist",
    );
  });

  async function restrictAccess(method: string, type = "host"): Promise<void> {
    const path = join(primary.dataDirectory, "pg_hba.conf");
    const lines = (await readFile(path, "utf8")).split("\n");
    const rest = lines.filter((line) => line.startsWith("local"));
    const rule = `${type} all walarc 127.0.0.0/8 ${method}`;
    await scene().workspace.writeFile(path, [rule, ...rest, ""].join("\n"), 0o600);
    await primary.query("select pg_reload_conf()");
    await primary.eventually("it has read its rules", async () => {
      const sql =
        "select count(*) from pg_hba_file_rules where user_name = '{walarc}' and type = $1";
      return (await primary.value(sql, [type])) === "1";
    });
  }

  /** A certificate that is its own authority. */
  async function serverCertificate(name: string): Promise<string> {
    const { account, directory } = scene().workspace;
    const certificate = scene().workspace.path(`${name}.crt`);
    const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
    const files = ["-keyout", keyOf(certificate), "-out", certificate];
    const args = [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      ...names,
      ...files,
    ];
    const env = { PATH: "/usr/bin:/bin" };
    await requireCommand("/usr/bin/openssl", args, { account, cwd: directory, env });
    return certificate;
  }
});

function keyOf(certificate: string): string {
  return certificate.replace(/crt$/, "key");
}
