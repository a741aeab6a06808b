import { expect, test } from "vitest";
import { problemsOf } from "./sources.ts";

test.each([
  ['kms_key_id = "a"', 'store.kms_key_id: is of no use unless server_side_encryption is "aws:kms"'],
  [
    'server_side_encryption = "aes256"',
    'store.server_side_encryption: "aes256" is not one of "", "AES256", "aws:kms"; ' +
      'did you mean "AES256"?',
  ],
  [
    'storage_class = "GLACIER"',
    'store.storage_class: "GLACIER" takes hours to read from, and a recovery waits',
  ],
  ['request_timeout = "1ms"', 'store.request_timeout: "1ms" is less than 1s'],
])("a bucket with %s is refused: %s", (key, problem) => {
  expect(problemsOf(`[store]\nkind = "s3"\nbucket = "wal"\n${key}\n`)).toEqual([problem]);
});
