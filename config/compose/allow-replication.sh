#!/bin/sh
# Run once by the image, in the new data directory: lets the standby copy and follow it.
set -eu
echo 'host replication all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
