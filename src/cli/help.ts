import { closest } from "../config/spelling.ts";
import { WalarcError } from "../errors.ts";

interface HelpRow {
  /** What follows the command's name. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly text: string;
  /** Takes the options of client commands. */
  readonly isClient: boolean;
}

const HELP: Readonly<Record<string, HelpRow>> = {
  serve: {
    usage: "[--config FILE]",
    summary: "the daemon",
    text: `
Keeps the archive until it is told to stop: SIGTERM or SIGINT ends it when the requests
under way are done, a second one at once. SIGHUP reads the configuration again. Without
--config it reads /etc/walarc/walarc.toml, and without that file it keeps everything in
./walarc-data.`,
    isClient: false,
  },
  push: {
    usage: "[--spool DIR] PATH",
    summary: "archive a WAL file: archive_command = 'walarc push %p'",
    text: `
Ends with 0 once the WAL file is durable in the store, and with 0 if the archive already
holds the same content. Any other end is a failure, which PostgreSQL retries.

  --spool DIR   put it into a directory of this host that the daemon drains, instead: ends
                with 0 once it is durable there, whether the daemon runs or not
  --look-ahead SIZE
                what may be archived ahead of PostgreSQL's archiver, where the daemon does not
                read pg_wal itself: 256MB unless said otherwise, 0 for nothing`,
    isClient: true,
  },
  fetch: {
    usage: "NAME DESTINATION",
    summary: "restore a WAL file: restore_command = 'walarc fetch %f %p'",
    text: `
Ends with 0 once a verified file is in place, and with 1 if the archive has no such file.
What other failures end with depends on the working directory, which is PostgreSQL's data
directory: on a standby they may be retried, in a recovery they must stop it.

  --on-error auto|stop|continue   "auto" looks at the directory, the others decide
  --prefetch SIZE                 what may be fetched ahead while PostgreSQL replays: 256MB
                                  unless said otherwise, 0 for nothing`,
    isClient: true,
  },
  cleanup: {
    usage: "RESTART_FILE [--standby NAME]",
    summary: "report a restart point: archive_cleanup_command = 'walarc cleanup %r'",
    text: `
Tells the archive from where on this standby needs WAL, and removes nothing itself. Reports
only where standby.signal is, that is on a standby: PostgreSQL runs the command in any
recovery, also in that of a restored copy.

  --standby NAME   the name to report under; without it HOSTNAME-PORT`,
    isClient: true,
  },
  status: {
    usage: "[--json]",
    summary: "what the archive holds and what is missing",
    text: `
Shows every cluster, or the one that --cluster, WALARC_CLUSTER or the configuration file
names. With --json: the object of one cluster, of "main" when none is named.`,
    isClient: true,
  },
  ls: {
    usage: "[--json]",
    summary: "the archived WAL files of a cluster",
    text: `
Prints name, kind, size, stored size and time of arrival of each WAL file, in the order of
their names. --timeout is for each page of 1000 files.`,
    isClient: true,
  },
  standby: {
    usage: "ls [--json] | forget NAME",
    summary: "the restart points of standbys",
    text: `
Lists who needs WAL from where on. One that is forgotten holds nothing any more, until it
reports again; a configured one that is forgotten counts as never heard from.`,
    isClient: true,
  },
  hold: {
    usage: "add NAME --from SEGMENT [--until TIME] | ls [--json] | rm NAME",
    summary: "WAL that is kept because somebody says so",
    text: `
Keeps everything from a segment on, for good or until a time: for a base backup that is being
taken, an investigation, a move.`,
    isClient: true,
  },
  prune: {
    usage: "[--dry-run] [--json]",
    summary: "remove the WAL that nobody needs, or explain what that would be",
    text: `
Does now what the daemon does by itself once per interval. With --dry-run nothing is removed:
it prints what would be, how much, and which claim holds the rest.`,
    isClient: true,
  },
  import: {
    usage: "DIR [--json]",
    summary: "take over the WAL files of a plain archive directory",
    text: `
Archives every WAL file below DIR, history files first, and leaves DIR as it is. Files may be
compressed (.gz, .zst, .lz4, .bz2, .xz). What is archived already is compared, not sent, so
an import that was interrupted is simply run again. Ends with 0 when all is archived.
--timeout is for each file.`,
    isClient: true,
  },
  token: {
    usage: "[--json]",
    summary: "a new token and its digest",
    text: `
Prints a token and the lines that let its bearer in. The token itself is kept nowhere.`,
    isClient: false,
  },
  "check-config": {
    usage: "FILE [--json]",
    summary: "whether a configuration file is right",
    text: `
Prints every problem of the file, each with its place, and ends with 2 if there is one. A
file that has only a [client] table is checked as a client's.`,
    isClient: false,
  },
  help: { usage: "[COMMAND]", summary: "this, or more about a command", text: "", isClient: false },
};

const CLIENT_OPTIONS = `
Options. A flag (--token-file) wins over the environment (WALARC_TOKEN_FILE), which wins
over the [client] table of the configuration file (token_file).

  --server URL        unix:/path, http://HOST:PORT or https://HOST:PORT; without it
                      unix:/run/walarc/walarc.sock if that exists, else http://127.0.0.1:8417
  --cluster NAME      "main" unless named
  --token-file FILE   the file that holds the token
  --ca-file FILE      the authority to trust with https
  --cert-file FILE    the client's certificate, and
  --key-file FILE     its key
  --timeout SECONDS   total deadline of the call
  --config FILE       the configuration file; /etc/walarc/walarc.toml if it exists`;

export function isCommandName(text: string): boolean {
  return Object.hasOwn(HELP, text);
}

/** The help about one command, or the list of all; throws `usage` for one that does not exist. */
export function helpText(command: string | undefined): string {
  if (command === undefined) return overview();
  const row = HELP[command];
  if (row === undefined || !isCommandName(command)) throw unknownCommand(command);
  const usage = `usage: walarc ${command} ${row.usage}\n`;
  return [usage, row.text, row.isClient ? CLIENT_OPTIONS : ""]
    .filter((paragraph) => paragraph !== "")
    .map((paragraph) => `${paragraph}\n`)
    .join("")
    .replaceAll(/\n{3,}/g, "\n\n");
}

/** What to say to a word that is no command. */
export function unknownCommand(word: string): WalarcError {
  if (word.startsWith("-")) {
    const hint = "a command comes first, then its options; see walarc help";
    return new WalarcError("usage", `unknown option "${word}"`, { hint });
  }
  const near = closest(word, Object.keys(HELP));
  const hint = near === undefined ? "see walarc help" : `did you mean walarc ${near}?`;
  return new WalarcError("usage", `unknown command "${word}"`, { hint });
}

function overview(): string {
  const commands = Object.entries(HELP).map(([name, { usage, summary }]) => {
    return `  ${`${name} ${usage}`.padEnd(28)}  ${summary}\n`;
  });
  return `usage: walarc COMMAND

${commands.join("")}
walarc COMMAND --help tells more about it, walarc --version names the version.
`;
}
