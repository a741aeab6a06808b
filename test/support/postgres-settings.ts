/** Server settings; a value is written between quotes. */
export type Settings = Readonly<Record<string, string | number>>;

/**
 * Small and quick servers: the crashes played here are those of processes, so PostgreSQL need not
 * fsync; what walarc promises about power cuts is tested elsewhere.
 */
export const TEST_SETTINGS: Settings = {
  listen_addresses: "",
  port: 5432,
  fsync: "off",
  shared_buffers: "16MB",
  max_connections: 20,
  autovacuum: "off",
  log_line_prefix: "%m [%p] %b ",
  timezone: "UTC",
  log_timezone: "UTC",
  lc_messages: "C",
};

/** Lines for postgresql.conf. */
export function settingLines(settings: Settings): string {
  const quoted = (value: string | number): string => `'${String(value).replaceAll("'", "''")}'`;
  return Object.entries(settings)
    .map(([key, value]) => `${key} = ${quoted(value)}\n`)
    .join("");
}
