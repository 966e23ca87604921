#!/usr/bin/env bash
# As the official image does it: makes the database at first start from POSTGRES_USER, POSTGRES_PASSWORD and
# POSTGRES_DB, with a server that listens on its socket only and is stopped again; then becomes the server.
set -Eeuo pipefail

make_database() {
  local user=${POSTGRES_USER:-postgres}
  initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:?must be set}") --auth-local=trust \
    --auth-host=scram-sha-256
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -w start -o "-c listen_addresses=''"
  if [[ ${POSTGRES_DB:-$user} != postgres ]]; then
    createdb --username="$user" --maintenance-db=postgres "${POSTGRES_DB:-$user}"
  fi
  pg_ctl -w -m fast stop
}

if ((EUID == 0)); then
  chown postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi
chmod 0700 "$PGDATA" || true # not ours when somebody mounts a directory; initdb says so itself
[[ -s $PGDATA/PG_VERSION ]] || make_database
exec "$@" -c listen_addresses='*'
