import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface CertificateWishes {
  readonly commonName?: string;
  /** As in the extension: `DNS:localhost,IP:127.0.0.1`. */
  readonly names?: string;
  /** Its time is over. */
  readonly isExpired?: boolean;
}

/** A certificate with its key, in PEM. */
export interface IssuedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Where the daemon of a test is found. */
export const LOCAL_NAMES = "IP:127.0.0.1,IP:::1,DNS:localhost";

/** An authority that signs what a test needs, with openssl. */
export class Authority implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "walarc-ca-"));
  #count = 0;

  constructor(commonName = "walarc test authority") {
    this.#openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -batch", [
      "-subj",
      `/CN=${commonName}`,
      ..."-keyout ca.key -out ca.crt".split(" "),
    ]);
    writeFileSync(join(this.directory, "index"), "");
  }

  /** PEM. */
  get cert(): string {
    return readFileSync(join(this.directory, "ca.crt"), "utf8");
  }

  issue(wishes: CertificateWishes = {}): IssuedCertificate {
    const { commonName = "server", names, isExpired = false } = wishes;
    this.#count += 1;
    const [cert, key] = [`${this.#count}.crt`, `${this.#count}.key`];
    const config = [
      "[ca]\ndefault_ca = a\n[a]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes",
      "default_md = sha256\npolicy = p\nunique_subject = no\ncopy_extensions = copy",
      "x509_extensions = e\n[p]\ncommonName = optional\n[e]\nbasicConstraints = CA:false",
    ];
    writeFileSync(join(this.directory, "config"), `${config.join("\n")}\n`);
    const subject = ["-subj", commonName === "" ? "/" : `/CN=${commonName}`];
    const extension = names === undefined ? [] : ["-addext", `subjectAltName=${names}`];
    const files = ["-keyout", key, "-out", "request"];
    this.#openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch", [
      ...subject,
      ...extension,
      ...files,
    ]);
    const times = isExpired
      ? "-startdate 20200101000000Z -enddate 20200102000000Z"
      : "-startdate 20200101000000Z -enddate 20991231000000Z";
    this.#openssl(
      `ca -batch -notext -config config -in request -out ${cert} ${times}`,
      "-cert ca.crt -keyfile ca.key".split(" "),
    );
    return { cert: this.#read(cert), key: this.#read(key) };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #read(name: string): string {
    return readFileSync(join(this.directory, name), "utf8");
  }

  #openssl(command: string, more: readonly string[]): void {
    const args = [...command.split(" "), ...more];
    execFileSync("openssl", args, { cwd: this.directory, stdio: "pipe" });
  }
}
