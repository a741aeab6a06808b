import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { eventually } from "./eventually.ts";

/**
 * Listens where systemd would. Node cannot open a datagram socket, so a program of systemd's does,
 * and `cat` reads from it.
 */
export class NotifySocket implements AsyncDisposable {
  /** For `NOTIFY_SOCKET`. */
  readonly address: string;
  readonly #child: ChildProcess;
  #text = "";

  private constructor(address: string) {
    this.address = address;
    const args = ["--datagram", "--inetd", "--listen", address];
    // Its standard output is the socket as well, so what it reads goes out by another way.
    this.#child = spawn("systemd-socket-activate", [...args, "sh", "-c", "exec cat >&2"], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: "/usr/bin:/bin" },
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#text += text;
    });
  }

  /** At a path, or with "@" before it at an abstract name (unix(7)). */
  static async listen(address: string): Promise<NotifySocket> {
    const socket = new NotifySocket(address);
    await eventually("the notify socket listens", () => socket.#text.includes("Listening on"));
    return socket;
  }

  /** What was told so far, in one text; `sd_notify_barrier` leaves its own words between. */
  get told(): string {
    return this.#text;
  }

  /** How often this was told so far. */
  count(assignment: string): number {
    return this.#text.split(assignment).length - 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
