/** `walarc serve`: the daemon, from its configuration to its last signal. */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { pino } from "pino";
import type { Config } from "../config/config.ts";
import { findConfig } from "../config/file.ts";
import { DEFAULT_CONFIG_FILE } from "../config/places.ts";
import { startDaemon } from "../daemon.ts";
import { WalarcError } from "../errors.ts";
import { logOptions } from "../telemetry/log.ts";
import { HangUp } from "./hang-up.ts";
import { startLifeSigns, statusLine } from "./liveness.ts";
import { parseCommandLine } from "./options.ts";
import { printError, reportFailure } from "./report.ts";
import { Supervisor, takeSupervision } from "./supervisor.ts";

/** What a shell reports for a process that a signal ended: 128 and the signal's number. */
const SIGNAL_STATUS = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Serves until a signal: the first one lets running requests finish, a second one ends at once.
 * Resolves to the exit status, 0 after an orderly stop.
 */
export async function serve(args: readonly string[]): Promise<number> {
  try {
    const line = parseCommandLine(args, {
      command: "serve",
      positionals: [],
      flags: { config: "string" },
      kind: "local",
    });
    const workingDirectory = process.cwd();
    const file = line.values["config"] ?? (process.env["WALARC_CONFIG"] || undefined);
    const config = await findConfig({ file, workingDirectory });
    await makeEmbeddedDirectory(config);
    // An embedded default comes from no file.
    const source =
      config.embeddedDirectory === undefined ? (file ?? DEFAULT_CONFIG_FILE) : undefined;
    await runDaemon(config, source);
    return 0;
  } catch (error) {
    return reportFailure("serve", error);
  }
}

async function runDaemon(config: Config, file: string | undefined): Promise<void> {
  const hangUp = new HangUp();
  // Synchronous, to standard output: the last lines before a crash are the ones that matter.
  const log = pino(logOptions(config.log), pino.destination({ fd: 1, sync: true }));
  for (const warning of config.warnings) log.warn(warning);
  const supervisor = new Supervisor({ ...takeSupervision(process.env), log });
  // Whatever is made from here on is ours alone; the socket gets its mode by itself.
  process.umask(0o077);
  const stopped = firstSignal();
  const daemon = await startDaemon(config, { log });
  if (config.embeddedDirectory !== undefined) printFirstSteps(config);
  void supervisor.tell({ READY: "1", STATUS: statusLine(daemon) });
  const lifeSigns = startLifeSigns(daemon, { supervisor, log });
  const reloads = hangUp.start(daemon, { file, supervisor, log });
  log.info({ signal: await stopped }, "stopping");
  endOnSecondSignal();
  void supervisor.tell({ STOPPING: "1", STATUS: "waiting for the requests under way" });
  // Together: whether systemd listens is nothing to wait for first.
  const end = async () => {
    await reloads[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  };
  await Promise.all([lifeSigns[Symbol.asyncDispose](), end()]);
  log.info("stopped");
}

async function firstSignal(): Promise<NodeJS.Signals> {
  const abort = new AbortController();
  const { signal } = abort;
  const received = (["SIGTERM", "SIGINT"] as const).map(async (name) => {
    await once(process, name, { signal });
    return name;
  });
  const first = await Promise.race(received);
  for (const other of received) other.catch(() => {}); // Aborted by the next line, as meant.
  abort.abort();
  return first;
}

function endOnSecondSignal(): void {
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.once(name, () => process.exit(SIGNAL_STATUS[name]));
  }
}

async function makeEmbeddedDirectory(config: Config): Promise<void> {
  if (config.embeddedDirectory === undefined) return;
  try {
    await mkdir(config.embeddedDirectory, { mode: 0o700, recursive: true });
  } catch (error) {
    throw new WalarcError("local", `cannot make "${config.embeddedDirectory}"`, {
      hint: "start walarc where it may write, or write a configuration",
      cause: error,
    });
  }
}

/** What to paste, for somebody who has just tried it. Not in the log, which is for machines. */
function printFirstSteps(config: Config): void {
  const command = resolve(dirname(process.argv[1] ?? ""), "../bin/walarc");
  const server = `--server unix:${config.server.socket?.path}`;
  printError(`
walarc serves its embedded default; everything is in ${config.embeddedDirectory}
For postgresql.conf (and archive_mode = on):

archive_command = '${command} push ${server} %p'
restore_command = '${command} fetch ${server} %f %p'

`);
}
