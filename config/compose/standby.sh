#!/bin/sh
# Makes the data directory as a copy of the primary's, once, and starts it as the image does.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  install -d -o postgres -g postgres -m 0700 "$PGDATA"
  PGPASSWORD=$POSTGRES_PASSWORD gosu postgres pg_basebackup \
    --host="$PGHOST_PRIMARY" --username=postgres --pgdata="$PGDATA" \
    --wal-method=stream --checkpoint=fast --write-recovery-conf
fi
exec docker-entrypoint.sh "$@"
