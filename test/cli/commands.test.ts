import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config/parser.ts";
import type { Outcome } from "../support/child.ts";
import { ClientScene } from "../support/client-scene.ts";

let scene: ClientScene;
beforeAll(async () => {
  scene = await ClientScene.create();
});
afterAll(() => scene[Symbol.asyncDispose]());

async function walarc(...args: string[]): Promise<Outcome> {
  return await scene.run(args);
}

/** A file that the account of the commands can read. */
async function write(content: string): Promise<string> {
  return await scene.workspace.writeFile(`${scene.newPath()}.toml`, content);
}

describe("walarc token", () => {
  test("prints a secret nobody had before, and tables with its digest that are valid", async () => {
    const [first, second] = [await walarc("token"), await walarc("token")];
    expect(first.stdout).not.toBe(second.stdout);
    const [token = "", ...rest] = first.stdout.split("\n");
    expect(token).toMatch(/^walarc_[A-Za-z0-9_-]{43}$/);
    const config = parseConfig(`store = { path = "/a" }\n${rest.join("\n")}`);
    expect(config.tokens[0]?.sha256).toBe(createHash("sha256").update(token).digest("hex"));
    expect(rest.join("\n")).not.toContain(token);
    expect(first.stderr).toBe("");
  });

  test("--json prints the same for programs", async () => {
    const { token, sha256 } = JSON.parse((await walarc("token", "--json")).stdout) as {
      token: string;
      sha256: string;
    };
    expect(sha256).toBe(createHash("sha256").update(token).digest("hex"));
  });
});

describe("walarc check-config", () => {
  test("says ok and what the daemon would do", async () => {
    const path = await write('[store]\npath = "/archive"\n[clusters.main]\n[clusters.b]\n');
    const { status, stdout, stderr } = await walarc("check-config", path);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`ok: ${path}
listens on  127.0.0.1:8417 (auth = "token"), unix:/run/walarc/walarc.sock (mode 0660)
store       disk /archive
tokens      none
clusters    main, b
`);
  });

  test("says where a bucket is", async () => {
    const at = (keys: string) => write(`[store]\nkind = "s3"\nbucket = "wal"\n${keys}`);
    const aws = await walarc("check-config", await at('region = "eu-west-1"'));
    expect(aws.stdout).toMatch(/^store +s3 wal\/ at AWS, region eu-west-1$/m);
    const own = await walarc("check-config", await at('prefix = "a"\nendpoint = "http://s3:80"'));
    expect(own.stdout).toMatch(/^store +s3 wal\/a\/ at http:\/\/s3:80$/m);
    expect(own.stderr).toMatch(/store\.endpoint: WAL travels unencrypted to http:\/\/s3:80/);
  });

  test("names spools, and who may come over TLS", async () => {
    const tls = '[server.tls]\ncert_file = "/c"\nkey_file = "/k"\nclient_ca_file = "/a"\n';
    const rights = '[[certificates]]\nname = "db1"\nclusters = ["*"]\nscopes = ["push"]\n';
    const spools = [1, 2].map((n) => `[[spool]]\npath = "/spool/${n}"\ncluster = "main"\n`);
    const path = await write(`store = { path = "/a" }\n${tls}${rights}${spools.join("")}`);
    const { stdout } = await walarc("check-config", path);
    expect(stdout).toContain('127.0.0.1:8417 (TLS, auth = "token")');
    expect(stdout).toMatch(/^certificates +1 certificate$/m);
    expect(stdout).toMatch(/^spool +\/spool\/1 for cluster "main"\nspool +\/spool\/2 for/m);
  });

  test("prints every problem on standard error and ends with 2", async () => {
    const path = await write('[store]\npath = "here"\n[sever]\n');
    const { status, stdout, stderr } = await walarc("check-config", path);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toBe(`walarc: check-config: usage: 2 problems
  sever: is not a known key; did you mean "server"?
  store.path: "here" is not an absolute path; write it from the root: /var/lib/walarc
`);
  });

  test("warns and is content", async () => {
    const path = await write('[server]\nsocket_mode = "0666"\n[store]\npath = "/archive"\n');
    const { status, stdout, stderr } = await walarc("check-config", path);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok: /);
    expect(stderr).toMatch(/^warning: server\.socket_mode: "0666" lets every user .*\n$/);
  });

  test("--json prints problems and warnings for programs", async () => {
    const bad = await walarc("check-config", "--json", await write("[store]"));
    expect(bad.status).toBe(2);
    expect(JSON.parse(bad.stdout)).toEqual({
      problems: [{ path: "store.path", why: "is missing" }],
      warnings: [],
    });
    const good = await walarc("check-config", "--json", await write('[store]\npath = "/a"'));
    expect(JSON.parse(good.stdout)).toEqual({ problems: [], warnings: [] });
  });

  test("knows a client's file", async () => {
    const good = await walarc("check-config", await write('[client]\ncluster = "b"\n'));
    expect([good.status, good.stderr]).toEqual([0, ""]);
    const bad = await walarc("check-config", await write('[client]\ncluster = "B"\n'));
    expect(bad.status).toBe(2);
    expect(bad.stderr).toMatch(/^walarc: check-config: usage: client\.cluster: "B" is not a/);
  });

  test("of a missing file ends with 2", async () => {
    const { status, stderr } = await walarc("check-config", scene.newPath());
    expect(status).toBe(2);
    expect(stderr).toMatch(
      /^walarc: check-config: usage: cannot read .*: there is no such file\n$/,
    );
  });
});

describe("walarc", () => {
  test("--version names the version", async () => {
    expect((await walarc("--version")).stdout).toMatch(/^walarc \d+\.\d+\.\d+\S*\n$/);
  });

  test("help lists the commands, and each has help of its own", async () => {
    const { status, stdout } = await walarc("help");
    expect(status).toBe(0);
    const commands = [...stdout.matchAll(/^ {2}(\S+) /gm)].map(([, name]) => name ?? "");
    expect(commands).toEqual(expect.arrayContaining(["serve", "push", "fetch", "status", "ls"]));
    for (const command of commands.filter((name) => name !== "help")) {
      const help = await walarc("help", command);
      expect(help.stdout).toMatch(new RegExp(`^usage: walarc ${command} `));
      expect(await walarc(command, "--help")).toEqual(help);
    }
    expect((await walarc("--help")).stdout).toBe(stdout);
  });

  test.each([
    [[], "start", "no command is given", "see walarc help"],
    [["stauts"], "stauts", 'unknown command "stauts"', "did you mean walarc status?"],
    [["--server", "x", "ls"], "--server", 'unknown option "--server"', "a command comes first"],
    [["constructor"], "constructor", 'unknown command "constructor"', "see walarc help"],
    [["help", "x"], "help", 'unknown command "x"', "see walarc help"],
    [["ls", "x"], "ls", 'unexpected argument "x"', "usage: walarc ls"],
    [["ls", "--jsn"], "ls", 'unknown option "--jsn"', "did you mean --json?"],
    [["check-config"], "check-config", "missing FILE", "usage: walarc check-config FILE"],
  ])("%j is a usage failure with a hint", async (args, what, why, hint) => {
    const { status, stdout, stderr } = await walarc(...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr.startsWith(`walarc: ${what}: usage: ${why}\nhint: ${hint}`)).toBe(true);
    expect(stderr.split("\n")).toHaveLength(3);
  });
});
