import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** Where a daemon takes TCP connections, and by whom it is vouched for where it speaks TLS. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly ca?: string | undefined;
}

/** A connection on which anything can be said; whatever happens to it is no error. */
export class RawConnection implements Disposable {
  readonly socket: Socket;
  readonly opened: Promise<void>;
  readonly closed: Promise<void>;
  #said = "";

  constructor({ host, port, ca }: Target) {
    this.socket = ca === undefined ? connect({ host, port }) : connectTls({ host, port, ca });
    const event = ca === undefined ? "connect" : "secureConnect";
    this.closed = new Promise((resolve) => void this.socket.once("close", () => resolve()));
    this.opened = new Promise((resolve) => void this.socket.once(event, () => resolve()));
    this.socket.on("error", () => {});
    this.socket.on("data", (bytes: Buffer) => {
      this.#said += bytes.toString("latin1");
    });
  }

  /** All that was answered. */
  get answer(): string {
    return this.#said;
  }

  /** Of every answer so far but `100 Continue`. */
  get statuses(): number[] {
    const all = [...this.#said.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, code]) => Number(code));
    return all.filter((status) => status !== 100);
  }

  say(bytes: string | Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
