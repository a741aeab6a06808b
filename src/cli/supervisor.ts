/** Telling systemd how the daemon fares: sd_notify(3), spoken by systemd's own program. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

export interface SupervisorOptions {
  /** Where systemd listens; `undefined` when nobody does, and then nothing is told. */
  readonly socket: string | undefined;
  /** After so long without a sign of life systemd kills the daemon; `undefined`: never. */
  readonly watchdogMs: number | undefined;
  readonly log: { warn(fields: object, message: string): void };
}

/** The program waits for systemd's receipt for 5 s, and then ends with a failure. */
const TOLD_MS_MAX = 10_000;
const run = promisify(execFile);

/**
 * systemd listens on a datagram socket, which Node cannot open, so each message costs a process of
 * 10 ms: fine for a few a minute. It is not left running on its own: systemd asks the kernel who
 * sent a message, and of a sender that has ended it could not tell the service any more.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  #told: Promise<void> = Promise.resolve();

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get watchdogMs(): number | undefined {
    return this.#options.watchdogMs;
  }

  /**
   * Tells these assignments (`READY=1`), in one message and after all earlier ones. Never rejects:
   * a daemon goes on whether or not somebody listens; that nobody does is in the log.
   */
  async tell(assignments: Readonly<Record<string, string>>): Promise<void> {
    const { socket, log } = this.#options;
    if (socket === undefined) return;
    const lines = Object.entries(assignments).map(([key, value]) => `${key}=${inOneLine(value)}`);
    this.#told = this.#told.then(async () => {
      try {
        // Nothing else of our environment is its business.
        const env = { NOTIFY_SOCKET: socket, PATH: "/usr/bin:/bin" };
        await run("systemd-notify", lines, { env, timeout: TOLD_MS_MAX, killSignal: "SIGKILL" });
      } catch (error) {
        log.warn({ err: error, told: Object.keys(assignments) }, "systemd could not be told");
      }
    });
    await this.#told;
  }
}

/**
 * What systemd has put into the environment for this process (sd_notify(3),
 * sd_watchdog_enabled(3)). It is taken out, so that no child believes it to be meant.
 */
export function takeSupervision(
  env: NodeJS.ProcessEnv,
): Pick<SupervisorOptions, "socket" | "watchdogMs"> {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
  const isOurs = pid === undefined || pid === String(process.pid);
  const watchdogMs = Number(microseconds) / 1000;
  return {
    socket: socket === "" ? undefined : socket,
    watchdogMs: isOurs && watchdogMs > 0 ? watchdogMs : undefined,
  };
}

/** A line break would begin another assignment. */
function inOneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, " ");
}
