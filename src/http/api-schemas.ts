/**
 * What HTTP says, as JSON Schema: the bodies of answers and requests. The compiler holds each one
 * to the type that the routes really send, and the tests hold every answer to it.
 */
import * as Type from "typebox";
import type { ArchivedFile, Page } from "../archive/listing.ts";
import type { PushResult } from "../archive/push.ts";
import type { ClusterStatus } from "../archive/status.ts";
import { FAILURES, type FailureCode } from "../errors.ts";
import type { ClaimStatus, HoldStatus, StandbyStatus } from "../retention/overview.ts";
import type { Gap, TimelineStatus } from "../wal/timeline-status.ts";
import type { ClusterTrouble } from "./cluster-routes.ts";

type SpoolStatus = NonNullable<ClusterStatus["spools"]>[number];

/** A schema that everything of type `Value` fits. */
interface SchemaOf<Value> extends Type.TSchema {
  readonly describes?: (value: Value) => void;
}

type Writable<Value> = Value extends readonly (infer Item)[]
  ? Writable<Item>[]
  : Value extends object
    ? { -readonly [Key in keyof Value]: Writable<Value[Key]> }
    : Value;

/** The schema itself; does not compile when a `Value` could look otherwise. */
function schemaOf<Value>() {
  return <Schema extends Type.TSchema>(
    schema: Writable<Value> extends Type.Static<Schema> ? Schema : never,
  ): SchemaOf<Value> => schema;
}

/** Nothing else is ever sent, so that a client may rely on the list. */
const strict = { additionalProperties: false } as const;

const text = (description?: string) =>
  Type.String(description === undefined ? {} : { description });
const count = (description?: string) =>
  Type.Integer({ minimum: 0, ...(description === undefined ? {} : { description }) });
const walName = (description?: string) =>
  Type.String({
    pattern: "^([0-9A-F]{24}(\\.partial|\\.[0-9A-F]{8}\\.backup)?|[0-9A-F]{8}\\.history)$",
    ...(description === undefined ? {} : { description }),
  });
const sha256 = () => Type.String({ pattern: "^[0-9a-f]{64}$", description: "of the plain bytes" });
const time = () => Type.String({ format: "date-time" });
const orNull = <Schema extends Type.TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
const nothing = () => Type.Optional(Type.Literal(true));

export const PROBLEM = schemaOf<{
  status: number;
  code: FailureCode;
  detail: string;
  hint?: string;
}>()(
  Type.Object(
    {
      status: Type.Integer({ minimum: 400, maximum: 599 }),
      code: Type.Unsafe<FailureCode>({ enum: Object.keys(FAILURES) }),
      detail: text("what happened"),
      hint: Type.Optional(text("what to do about it")),
    },
    { ...strict, description: "RFC 9457, with a code to go by" },
  ),
);

export const PUSHED = schemaOf<Omit<PushResult, "storedBytes"> & { name: string }>()(
  Type.Object(
    {
      outcome: Type.Unsafe<PushResult["outcome"]>({
        enum: ["archived", "already-archived", "kept-aside"],
      }),
      name: walName(),
      sha256: sha256(),
      sizeBytes: count("plain bytes"),
    },
    strict,
  ),
);

const ARCHIVED_FILE = schemaOf<ArchivedFile>()(
  Type.Object(
    {
      name: walName(),
      kind: Type.Unsafe<ArchivedFile["kind"]>({
        enum: ["segment", "partial", "history", "backup"],
      }),
      sizeBytes: orNull(count("plain bytes; null when the stored object is damaged")),
      storedBytes: count(),
      sha256: orNull(sha256()),
      archivedAt: orNull(time()),
    },
    strict,
  ),
);

export const PAGE = schemaOf<Page>()(
  Type.Object(
    {
      files: Type.Unsafe<Writable<Page["files"]>>(Type.Array(ARCHIVED_FILE)),
      next: orNull(walName("ask on after it; null at the end")),
    },
    strict,
  ),
);

const HOLDER = Type.Object({ kind: text(), name: text() }, strict);

const CLAIM = schemaOf<ClaimStatus>()(
  Type.Object(
    {
      kind: text("standby, backup, window or hold"),
      name: text(),
      from: orNull(walName()),
      heldBytes: count("plain bytes archived from there on"),
      reportedAt: Type.Optional(orNull(time())),
      stale: Type.Optional(Type.Boolean()),
      released: nothing(),
      doubt: Type.Optional(text("why everything is kept for it")),
    },
    strict,
  ),
);

const GAP = schemaOf<Gap>()(
  Type.Object({ after: orNull(walName()), before: walName(), segments: count() }, strict),
);

const TIMELINE = schemaOf<TimelineStatus>()(
  Type.Object(
    {
      timeline: Type.Integer({ minimum: 1 }),
      parent: orNull(Type.Integer({ minimum: 1 })),
      switchLsn: orNull(Type.String({ pattern: "^[0-9A-F]+/[0-9A-F]+$" })),
      ranges: Type.Array(
        Type.Object({ first: walName(), last: walName(), segments: count() }, strict),
      ),
      gaps: Type.Unsafe<Gap[]>(Type.Array(GAP)),
    },
    strict,
  ),
);

const SPOOL = schemaOf<SpoolStatus>()(
  Type.Object(
    {
      path: text(),
      files: count("WAL files waiting"),
      oldestAgeSeconds: Type.Number({ minimum: 0 }),
      waitingSince: orNull(time()),
      problem: orNull(text()),
      incomplete: Type.Array(Type.Object({ name: text(), why: text() }, strict)),
      abandoned: Type.Array(text()),
      rejected: count("entries in rejected/"),
      lastRejected: Type.Array(
        Type.Object(
          {
            name: text(),
            reason: Type.Unsafe<SpoolStatus["lastRejected"][number]["reason"]>({ type: "string" }),
            why: text(),
            as: orNull(text()),
          },
          strict,
        ),
      ),
    },
    strict,
  ),
);

const latest = Type.Object({ name: walName(), archivedAt: orNull(time()) }, strict);

export const CLUSTER_STATUS = schemaOf<ClusterStatus>()(
  Type.Object(
    {
      cluster: text(),
      systemIdentifier: orNull(Type.String({ pattern: "^[1-9][0-9]*$" })),
      segmentSizeBytes: orNull(count()),
      latest: orNull(latest),
      stored: Type.Object(
        { files: count(), bytes: count(), plainBytes: count(), counting: nothing() },
        strict,
      ),
      timelines: Type.Unsafe<Writable<TimelineStatus>[]>(Type.Array(TIMELINE)),
      damaged: Type.Array(walName(), { description: "push these again" }),
      conflicts: count("second contents refused since the start"),
      spools: Type.Optional(Type.Unsafe<Writable<SpoolStatus>[]>(Type.Array(SPOOL))),
      claims: Type.Unsafe<Writable<ClaimStatus>[]>(Type.Array(CLAIM)),
      horizon: orNull(walName()),
      heldBy: Type.Array(HOLDER),
      explanation: text("why nothing more is removed, in one line"),
    },
    strict,
  ),
);

const CLUSTER_TROUBLE = schemaOf<ClusterTrouble>()(
  Type.Object(
    {
      cluster: text(),
      problem: Type.Object(
        { code: Type.Unsafe<FailureCode>({ enum: Object.keys(FAILURES) }), detail: text() },
        strict,
      ),
    },
    { ...strict, description: "a cluster that cannot tell its status at the moment" },
  ),
);

export const CLUSTERS = Type.Object(
  { clusters: Type.Array(Type.Union([CLUSTER_STATUS, CLUSTER_TROUBLE])) },
  strict,
);

export const STANDBY = schemaOf<StandbyStatus>()(
  Type.Object(
    {
      name: text(),
      restartPoint: orNull(walName()),
      reportedAt: orNull(time()),
      stale: Type.Boolean(),
      source: Type.Unsafe<StandbyStatus["source"]>({ enum: ["report", "sql"] }),
      heldBytes: count("plain bytes"),
      role: Type.Optional(Type.Literal("primary")),
      released: nothing(),
      problem: Type.Optional(text("why nothing better is known")),
    },
    strict,
  ),
);

export const STANDBYS = Type.Object({ standbys: Type.Array(STANDBY) }, strict);

export const RESTART_POINT = Type.Object({ restartPoint: walName() }, strict);

export const HOLD = schemaOf<HoldStatus>()(
  Type.Object(
    {
      name: text(),
      from: orNull(walName()),
      until: orNull(time()),
      problem: Type.Optional(text()),
    },
    strict,
  ),
);

export const HOLDS = Type.Object({ holds: Type.Array(HOLD) }, strict);

export const NEW_HOLD = Type.Object(
  { from: walName(), until: Type.Optional(orNull(time())) },
  strict,
);

export const PRUNE_WISH = Type.Object(
  {
    dryRun: Type.Optional(Type.Boolean({ default: false })),
    names: Type.Optional(
      Type.Boolean({ default: true, description: "whether every single name is listed" }),
    ),
  },
  strict,
);

export const PRUNED = Type.Object(
  {
    dryRun: Type.Boolean(),
    horizon: orNull(walName()),
    heldBy: Type.Array(HOLDER),
    explanation: text(),
    removeFiles: count(),
    removeBytes: count("plain bytes"),
    ranges: Type.Array(
      Type.Object({ first: walName(), last: walName(), segments: count() }, strict),
    ),
    remove: Type.Optional(Type.Array(walName())),
  },
  strict,
);

export const HEALTH = Type.Object({ status: Type.Literal("ok") }, strict);
export const READY = Type.Object({ ready: Type.Literal(true) }, strict);
