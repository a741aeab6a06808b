import { describe, expect, test } from "vitest";
import { s3Failure, verdictOf } from "../../src/store/s3/failure.ts";

/** As the SDK rejects: with a name, maybe the system's code, and the status of an answer. */
function rejection(name: string, parts: { code?: string; status?: number } = {}): Error {
  const { code, status } = parts;
  const $metadata = status === undefined ? { attempts: 1 } : { httpStatusCode: status };
  return Object.assign(new Error("as it is told"), { name, $metadata }, code ? { code } : {});
}

describe("what failed with a bucket is told with what to do about it", () => {
  test.each([
    [rejection("QuotaExceeded", { status: 403 }), 507, /quota/],
    [rejection("XMinioStorageFull", { status: 507 }), 507, /quota/],
    [rejection("InvalidAccessKeyId", { status: 403 }), 503, /access key/],
    [rejection("SignatureDoesNotMatch", { status: 403 }), 503, /access key/],
    [rejection("AccessDenied", { status: 403 }), 503, /docs\/s3\.md/],
    [rejection("NoSuchBucket", { status: 404 }), 503, /create the bucket/],
    [rejection("PermanentRedirect", { status: 301 }), 503, /store\.region/],
    [rejection("SlowDown", { status: 503 }), 503, /by itself/],
    [rejection("CredentialsProviderError"), 503, /AWS_ACCESS_KEY_ID/],
    [rejection("Error", { code: "ECONNREFUSED" }), 503, /store\.endpoint/],
    [rejection("Error", { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }), 503, /NODE_EXTRA_CA_CERTS/],
    [rejection("Error", { code: "ERR_TLS_CERT_ALTNAME_INVALID" }), 503, /NODE_EXTRA_CA_CERTS/],
    [rejection("TimeoutError"), 503, /request_timeout/],
  ])("%s", (error, status, hint) => {
    expect(s3Failure(error, "publish it")).toMatchObject({
      code: "store-failed",
      status,
      message: expect.stringMatching(/^cannot publish it: /),
      hint: expect.stringMatching(hint),
      cause: error,
    });
  });

  test("and a bug stays one", () => {
    const bug = new TypeError("undefined is no function");
    expect(s3Failure(bug, "publish it")).toBe(bug);
  });
});

describe("what may help", () => {
  test.each([
    ["again", rejection("Error", { code: "ECONNRESET" })],
    ["again", rejection("InternalError", { status: 500 })],
    ["again", rejection("ConditionalRequestConflict", { status: 409 })],
    ["again", rejection("RequestTimeTooSkewed", { status: 403 })],
    ["again", rejection("TimeoutError")],
    ["throttled", rejection("SlowDown", { status: 503 })],
    ["throttled", rejection("TooManyRequests", { status: 429 })],
    ["renew", rejection("ExpiredToken", { status: 400 })],
    ["never", rejection("AccessDenied", { status: 403 })],
    ["never", rejection("NotImplemented", { status: 501 })],
    ["never", rejection("PreconditionFailed", { status: 412 })],
    ["never", rejection("CredentialsProviderError")],
  ] as const)("%s: %s", (verdict, error) => {
    expect(verdictOf(error)).toBe(verdict);
  });
});
