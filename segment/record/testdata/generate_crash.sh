#!/bin/sh
# Makes NN.crash.wal.gz: a server is killed within a long record, and on its next start writes
# XLOG_OVERWRITE_CONTRECORD where the rest of that record would have been.
#
#   generate_crash.sh MAJOR BINDIR OUTDIR
#
# Run as an ordinary user with psql in PATH; PostgreSQL refuses root.
set -eu
major=$1 bin=$2 out=$3
dir=$(mktemp -d)
port=$((55000 + major))
export PGHOST="$dir" PGPORT=$port PGUSER=postgres PGDATABASE=postgres
"$bin/initdb" -D "$dir/data" -U postgres -A trust --wal-segsize=1 >/dev/null
cat >>"$dir/data/postgresql.conf" <<CONF
port = $port
listen_addresses = ''
unix_socket_directories = '$dir'
wal_keep_size = '1GB'
max_wal_size = '1GB'
autovacuum = off
CONF
wal="$dir/data/pg_wal"
"$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" start >/dev/null
trap '"$bin/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null; rm -rf "$dir"' EXIT
before=$(psql -qAtXc 'SELECT pg_walfile_name(pg_switch_wal())')
files=$(ls "$wal" | wc -l)
psql -qXc "SELECT pg_logical_emit_message(false, 'big', repeat('y', 200000000))" >/dev/null 2>&1 &
while [ "$(ls "$wal" | wc -l)" -lt $((files + 5)) ]; do sleep 0.01; done
postmaster=$(head -1 "$dir/data/postmaster.pid")
children=$(ps -o pid= --ppid "$postmaster")
# shellcheck disable=SC2086
kill -9 "$postmaster" $children
for p in $postmaster $children; do while kill -0 "$p" 2>/dev/null; do sleep 0.05; done; done
rm -f "$dir/data/postmaster.pid" "$dir"/.s.PGSQL.*
"$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" start >/dev/null
psql -qXc 'CREATE TABLE x (a int)'
last=$(psql -qAtXc 'SELECT pg_walfile_name(pg_switch_wal())')
# shellcheck disable=SC2046
cat $(ls "$wal" | grep -E '^[0-9A-F]{24}$' | awk -v a="$before" -v b="$last" '($0 "") > (a "") && ($0 "") <= (b "")' | sed "s|^|$wal/|") |
	gzip -9n >"$out/$major.crash.wal.gz"
