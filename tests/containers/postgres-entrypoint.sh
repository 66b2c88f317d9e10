#!/bin/sh
# Initialize the database as the entrypoint of the official image does, then run the server.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown -R postgres: "$PGDATA" /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="${POSTGRES_USER:-postgres}" --auth-host=scram-sha-256 --pwfile=/tmp/password
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses= -k /tmp" start
    createdb --host=/tmp --username="${POSTGRES_USER:-postgres}" "$POSTGRES_DB"
    pg_ctl --wait stop
fi
shift
exec postgres -c "listen_addresses=*" "$@"
