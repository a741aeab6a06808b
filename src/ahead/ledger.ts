/**
 * The ledger: segments that the archive has confirmed before PostgreSQL asked for them. In its
 * place are
 *
 *     000000010000000A000000FF     confirmed; holds which file it was
 *     ….part                       on its way
 *     asked                        the last segment PostgreSQL asked for
 *     failed                       the last one of which its call could not archive
 *
 * It is believed only while the process lives that writes it.
 */
import { existsSync, fstatSync } from "node:fs";
import { parseWalName } from "../wal/name.ts";
import { PrivatePlace } from "./private-place.ts";

const PLACE = "walarc-push";
const PART = ".part";
const ASKED = "asked";
const FAILED = "failed";

/**
 * Which file with which content is open here: no write and no rename leaves this as it was. A
 * recycled segment has its inode, but neither of its times.
 */
export function contentIdentity(descriptor: number): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = fstatSync(descriptor, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

export class Ledger {
  readonly place: PrivatePlace;

  /** As `PrivatePlace.in`. */
  static in(
    walDirectory: string,
    purpose: { readonly systemIdentifier: string; readonly archive: readonly string[] },
  ): Ledger | undefined {
    const place = PrivatePlace.in(walDirectory, { place: PLACE, ...purpose });
    return place && new Ledger(place);
  }

  private constructor(place: PrivatePlace) {
    this.place = place;
  }

  /** The `contentIdentity` of what was archived under the name; `undefined` for nothing. */
  confirmed(name: string): string | undefined {
    return this.place.read(name);
  }

  isUnderWay(name: string): boolean {
    return existsSync(this.place.pathOf(name + PART));
  }

  begin(name: string): void {
    this.place.write(name + PART, "");
  }

  /** Only after the archive has said so. */
  confirm(name: string, identity: string): void {
    this.place.write(name, identity);
  }

  /** After `confirm`, or without it when the segment was not archived. */
  end(name: string): void {
    this.place.discard(name + PART);
  }

  ask(name: string): void {
    this.place.write(ASKED, name);
  }

  asked(): string | undefined {
    return this.place.read(ASKED);
  }

  fail(name: string): void {
    this.place.write(FAILED, name);
  }

  failed(): string | undefined {
    return this.place.read(FAILED);
  }

  /** Names of the confirmed segments. */
  names(): string[] {
    return this.place.names().filter((name) => parseWalName(name)?.kind === "segment");
  }
}
