/**
 * Makes two Debian packages of what `npm run build` has built: `walarc-client` for database hosts
 * (push, fetch and cleanup, which need no Node) and `walarc` with the daemon and every other
 * command. Needs dpkg-deb.
 *
 *     node bin/package.mjs [DIRECTORY] [--compress=zstd|xz|gzip|none]
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };
const HOME = "usr/lib/walarc";

const { values, positionals } = parseArgs({
  options: { compress: { type: "string", default: "zstd" } },
  allowPositionals: true,
});
const target = positionals[0] ?? join(root, "dist");
const architecture = ARCHITECTURES[process.arch];
if (architecture === undefined) throw new Error(`no package for ${process.arch}`);

/** From where, to where, and with which mode. */
const CLIENT_FILES = [
  ["bin/walarc", `${HOME}/bin/walarc`, 0o755],
  ["dist/walarc-client", `${HOME}/dist/walarc-client`, 0o755],
  ["dist/walarc-call", `${HOME}/dist/walarc-call`, 0o755],
  ["docs/man/walarc.1", "usr/share/man/man1/walarc.1", 0o644],
  ["config/completion/walarc.bash", "usr/share/bash-completion/completions/walarc", 0o644],
  ["LICENSE", "usr/share/doc/walarc-client/copyright", 0o644],
];

const DAEMON_FILES = [
  ...["walarc.cjs", "client.cjs", "commands.cjs", ...chunks()].map((name) => {
    return [`dist/${name}`, `${HOME}/dist/${name}`, 0o644];
  }),
  ["node_modules/.bin/node", `${HOME}/node_modules/.bin/node`, 0o755],
  ["config/walarc.toml", "etc/walarc/walarc.toml", 0o644],
  ["systemd/walarc.service", "usr/lib/systemd/system/walarc.service", 0o644],
  ["systemd/walarc.sysusers", "usr/lib/sysusers.d/walarc.conf", 0o644],
  ["systemd/walarc.tmpfiles", "usr/lib/tmpfiles.d/walarc.conf", 0o644],
  ["README.md", "usr/share/doc/walarc/README.md", 0o644],
  ["CHANGELOG.md", "usr/share/doc/walarc/CHANGELOG.md", 0o644],
  ["LICENSE", "usr/share/doc/walarc/copyright", 0o644],
  ...treeBelow("docs").map((file) => [file, `usr/share/doc/walarc/${file}`, 0o644]),
  ...["database-host.conf", "postgresql-order.conf"].map((name) => {
    return [`systemd/${name}`, `usr/share/doc/walarc/systemd/${name}`, 0o644];
  }),
  ...treeBelow("config").map((file) => [file, `usr/share/doc/walarc/${file}`, 0o644]),
];

makePackage("walarc-client", {
  files: CLIENT_FILES,
  links: [["../lib/walarc/bin/walarc", "usr/bin/walarc"]],
  control: {
    Depends: "libc6",
    Enhances: "postgresql",
    Description: `client of the walarc WAL archive server
 The commands that PostgreSQL calls to archive and to restore its write-ahead
 log: walarc push, fetch and cleanup, as one executable without dependencies.`,
  },
});

makePackage("walarc", {
  files: DAEMON_FILES,
  links: [],
  control: {
    Depends: `walarc-client (= ${version}), libc6, libgcc-s1, libstdc++6`,
    Recommends: "systemd",
    Description: `PostgreSQL WAL archive server
 Takes WAL files from archive_command or a watched directory, stores them
 durably on disk or in S3, serves them to restore_command, and removes what no
 standby, base backup or policy needs any more.`,
  },
  conffiles: ["/etc/walarc/walarc.toml"],
  scripts: {
    postinst: `if [ "$1" = configure ]; then
  if command -v systemd-sysusers >/dev/null; then systemd-sysusers walarc.conf; fi
  if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create walarc.conf; fi
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # After an upgrade; a first start is the administrator's, who has a configuration to write.
    # A daemon that would not come back goes on as it is, and no failure breaks the installation.
    if [ -n "$2" ] && systemctl --quiet is-active walarc.service; then
      if walarc check-config /etc/walarc/walarc.toml >/dev/null; then
        systemctl try-restart walarc.service || echo "walarc: see systemctl status walarc" >&2
      else
        echo "walarc: not restarted, the old version goes on: mend the configuration first" >&2
      fi
    fi
  fi
fi`,
    prerm: `if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  # Also where somebody has removed the unit already.
  systemctl --no-reload disable --now walarc.service || systemctl stop walarc.service || true
fi`,
    postrm: `if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
# The archive in /var/lib/walarc is the last copy of somebody's data: it stays, even on purge.`,
  },
});

/** What the build has split off. */
function chunks() {
  const known = ["walarc.cjs", "client.cjs", "commands.cjs"];
  return readdirSync(join(root, "dist")).filter(
    (name) => name.endsWith(".cjs") && !known.includes(name) && !/\.\d+\.cjs$/.test(name),
  );
}

function treeBelow(directory) {
  return readdirSync(join(root, directory), { recursive: true })
    .map((name) => join(directory, name))
    .filter((file) => lstatSync(join(root, file)).isFile() && !file.startsWith("docs/man/"));
}

function makePackage(name, { files, links, control, conffiles = [], scripts = {} }) {
  const stage = mkdtempSync(join(tmpdir(), "walarc-package-"));
  chmodSync(stage, 0o755);
  try {
    let bytes = 0;
    for (const [from, to, mode] of files) bytes += place(stage, { from, to, mode });
    for (const [text, to] of links) {
      mkdirSync(dirname(join(stage, to)), { recursive: true });
      symlinkSync(text, join(stage, to));
    }
    mkdirSync(join(stage, "DEBIAN"));
    write(join(stage, "DEBIAN/control"), controlText(name, control, bytes), 0o644);
    if (conffiles.length > 0) {
      write(join(stage, "DEBIAN/conffiles"), `${conffiles.join("\n")}\n`, 0o644);
    }
    // Of a configuration dpkg itself remembers what it was.
    const packed = files.map(([, to]) => to).filter((to) => !conffiles.includes(`/${to}`));
    const sums = packed.map((to) => `${md5Of(join(stage, to))}  ${to}\n`);
    write(join(stage, "DEBIAN/md5sums"), sums.join(""), 0o644);
    for (const [script, text] of Object.entries(scripts)) {
      write(join(stage, "DEBIAN", script), `#!/bin/sh\nset -e\n${text}\n`, 0o755);
    }
    const file = join(target, `${name}_${version}_${architecture}.deb`);
    mkdirSync(target, { recursive: true });
    const flags = ["--root-owner-group", `-Z${values.compress}`];
    execFileSync("dpkg-deb", [...flags, "--build", stage, file], { stdio: "pipe" });
    console.log(file);
  } finally {
    rmSync(stage, { recursive: true });
  }
}

/** Its size in bytes. */
function place(stage, { from, to, mode }) {
  const source = join(root, from);
  if (!existsSync(source)) throw new Error(`${from} is missing: run npm ci && npm run build`);
  const copy = join(stage, to);
  mkdirSync(dirname(copy), { recursive: true });
  if (from.startsWith("systemd/")) {
    // By hand it stands in /usr/local.
    const text = readFileSync(source, "utf8").replaceAll("/usr/local/bin/", "/usr/bin/");
    write(copy, text, mode);
  } else {
    copyFileSync(realpathSync(source), copy);
    chmodSync(copy, mode);
  }
  return lstatSync(copy).size;
}

/** For `dpkg --verify` and debsums, which know no other digest. */
function md5Of(path) {
  return createHash("md5").update(readFileSync(path)).digest("hex");
}

function write(path, text, mode) {
  writeFileSync(path, text);
  chmodSync(path, mode);
}

function controlText(name, fields, bytes) {
  const { Description, ...others } = fields;
  const lines = {
    Package: name,
    Version: version,
    Architecture: architecture,
    Maintainer: "walarc developers <walarc@localhost>",
    Section: "database",
    Priority: "optional",
    "Installed-Size": Math.ceil(bytes / 1024),
    ...others,
    Description,
  };
  return Object.entries(lines)
    .map(([field, value]) => `${field}: ${value}\n`)
    .join("");
}
