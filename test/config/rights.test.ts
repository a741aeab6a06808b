import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config/parser.ts";
import { problemsOf, STORE } from "./sources.ts";

const TLS = '[server.tls]\ncert_file = "/c"\nkey_file = "/k"\nclient_ca_file = "/a"\n';

function certificate(name: string, clusters = '["*"]'): string {
  return `[[certificates]]\nname = "${name}"\nclusters = ${clusters}\nscopes = ["push"]\n`;
}

describe("of a certificate's rights each rule has its own message", () => {
  const NAME = "is not a certificate's name; write its CN, or one of its DNS names";

  test.each([
    [TLS + certificate("*"), `certificates[0].name: "*" ${NAME}, as it stands in the certificate`],
    [
      TLS + certificate(" a"),
      `certificates[0].name: " a" ${NAME}, as it stands in the certificate`,
    ],
    [
      TLS + certificate("db1") + certificate("DB1"),
      "certificates[1].name: is the same as of certificates[0]",
    ],
    [
      `${TLS}${certificate("db1", '["b"]')}[clusters.main]`,
      'certificates[0].clusters[0]: "b" is none of the configured clusters; add [clusters.b]',
    ],
    [
      certificate("db1"),
      "certificates: are of no use without server.tls.client_ca_file, which vouches for them",
    ],
  ])("%j", (text, problem) => {
    expect(problemsOf(STORE + text)).toEqual([problem]);
  });

  test("and names that certificates have are taken as they are", () => {
    const names = ["db1.example.com", "postgres@db1", "Primary of Berlin", "Größe"];
    const config = parseConfig(STORE + TLS + names.map((name) => certificate(name)).join(""));
    expect(config.certificates.map(({ name }) => name)).toEqual(names);
  });
});
