/** What `/openapi.json` says of the requests about WAL files. */
import type { Answer, Operation, Parameter } from "./api.ts";
import { BYTES_TYPE, jsonBody } from "./api.ts";
import { PAGE, PUSHED } from "./api-schemas.ts";

const SHA256 = { "walarc-sha256": "of the plain bytes, in hex" } as const;

export const SYSTEM_IDENTIFIER: Readonly<Record<string, Parameter>> = {
  "Walarc-System-Identifier": {
    description: "of the caller's own cluster, decimal; refused when it is another one's",
    pattern: "^[1-9][0-9]{0,19}$",
  },
};

const PUSH_ANSWERS: Record<number, Answer> = {
  200: {
    description: "already archived with the same bytes, or kept aside (a .partial)",
    headers: SHA256,
    body: jsonBody(PUSHED),
  },
  201: { description: "archived, and durable", headers: SHA256, body: jsonBody(PUSHED) },
};

export const PUT_WAL: Operation = {
  summary: "archive a WAL file; success is said when it is durable",
  scope: "push",
  headers: {
    ...SYSTEM_IDENTIFIER,
    "Walarc-Sha256": {
      description: "digest that the plain bytes must have, in hex",
      pattern: "^[0-9A-Fa-f]{64}$",
    },
    "Content-Encoding": {
      description:
        "zstd for a body that is one zstd frame: the answer then has its digest as well, of the " +
        "compressed bytes as they came, in hex, as Walarc-Frame-Sha256",
    },
  },
  body: { type: BYTES_TYPE },
  answers: PUSH_ANSWERS,
  failures: ["conflict", "rejected", "store-failed"],
};

export const POST_WAL: Operation = {
  summary: "archive the file of this name from the cluster's own pg_wal",
  scope: "push",
  headers: {
    ...SYSTEM_IDENTIFIER,
    "Walarc-File": {
      description: "device:inode:size:mtime_ns of the file that the caller means",
      pattern: "^[0-9]{1,20}(:[0-9]{1,20}){3}$",
      isRequired: true,
    },
  },
  answers: PUSH_ANSWERS,
  failures: ["usage", "conflict", "rejected", "store-failed"],
};

export const GET_WAL: Operation = {
  summary: "a verified WAL file",
  scope: "fetch",
  headers: {
    ...SYSTEM_IDENTIFIER,
    "Accept-Encoding": { description: "zstd to get the stored frame, else plain bytes" },
  },
  answers: {
    200: { description: "the WAL file", headers: SHA256, body: { type: BYTES_TYPE } },
  },
  failures: ["absent", "gap", "corrupt", "unknown-cluster", "rejected"],
};

export const LIST_WAL: Operation = {
  summary: "a page of archived WAL files, by name",
  scope: "read",
  query: {
    after: { description: "the name to go on after" },
    limit: { description: "files on the page, 1 to 1000", pattern: "^[0-9]{1,4}$" },
  },
  answers: { 200: { description: "the page", body: jsonBody(PAGE) } },
};
