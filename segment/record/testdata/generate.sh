#!/bin/sh
# Makes the fixtures of one PostgreSQL major: NN.wal.gz (consecutive 1 MB segments) and, from 15 on,
# NN.records.gz (what pg_walinspect says is in them: start, end, prev, xid, resource manager, length).
#
#   generate.sh MAJOR BINDIR OUTDIR
#
# Run as an ordinary user with psql and pgbench in PATH; PostgreSQL refuses root.
set -eu
major=$1 bin=$2 out=$3
dir=$(mktemp -d)
port=$((54000 + major))
export PGHOST="$dir" PGPORT=$port PGUSER=postgres PGDATABASE=postgres
"$bin/initdb" -D "$dir/data" -U postgres -A trust --wal-segsize=1 >/dev/null
cat >>"$dir/data/postgresql.conf" <<CONF
port = $port
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
wal_level = logical
wal_keep_size = '512MB'
max_wal_size = '1GB'
autovacuum = off
CONF
"$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" start >/dev/null
trap '"$bin/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null; rm -rf "$dir"' EXIT

psql -qAtX -v ON_ERROR_STOP=1 <<SQL
CREATE TABLE branches (bid int PRIMARY KEY, bbalance int);
CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
CREATE TABLE history (aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO branches SELECT g, 0 FROM generate_series(1, 10) g;
INSERT INTO accounts SELECT g, g % 10 + 1, 0, '' FROM generate_series(1, 2000) g;
CHECKPOINT;
SQL
cat >"$dir/tx.sql" <<'SQL'
\set aid random(1, 2000)
\set bid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO history VALUES (:aid, :delta, now());
END;
SQL
before=$(psql -qAtXc 'SELECT pg_walfile_name(pg_switch_wal())')
begin=$(psql -qAtXc 'SELECT pg_current_wal_lsn()')
pgbench -n -f "$dir/tx.sql" -t 350 -c 2 postgres >/dev/null 2>&1
psql -qAtX -v ON_ERROR_STOP=1 >/dev/null <<SQL
CREATE TABLE t (a int, b text);
CREATE INDEX ON t USING gin (to_tsvector('simple', b));
INSERT INTO t SELECT g, 'word ' || g % 50 FROM generate_series(1, 300) g;
ALTER TABLE t ADD c int;
DELETE FROM t WHERE a % 3 = 0;
VACUUM t;
TRUNCATE t;
BEGIN; INSERT INTO t VALUES (1, 'x'); SAVEPOINT s; INSERT INTO t VALUES (2, 'y'); ROLLBACK TO s; COMMIT;
DROP TABLE t;
SELECT pg_create_restore_point('fixture');
SELECT length(pg_logical_emit_message(false, 'big', repeat('0123456789abcdef', 140000))::text);
SELECT pg_switch_wal();
CREATE SEQUENCE s; SELECT nextval('s');
CHECKPOINT;
SQL
last=$(psql -qAtXc 'SELECT pg_walfile_name(pg_switch_wal())')
end=$(psql -qAtXc 'SELECT pg_current_wal_lsn()')
files=$(cd "$dir/data/pg_wal" && ls | grep -E '^[0-9A-F]{24}$' | awk -v a="$before" -v b="$last" '($0 "") > (a "") && ($0 "") <= (b "")' | sed "s|^|$dir/data/pg_wal/|")
# shellcheck disable=SC2086
cat $files | gzip -9n >"$out/$major.wal.gz"
if [ "$major" -ge 15 ]; then
	psql -qAtXc 'CREATE EXTENSION pg_walinspect' >/dev/null
	psql -qAtX -F' ' -c "SELECT start_lsn, end_lsn, prev_lsn, xid, resource_manager, record_length
		FROM pg_get_wal_records_info('$begin', '$end') ORDER BY start_lsn" | gzip -9n >"$out/$major.records.gz"
fi
echo "$major: $(echo "$files" | wc -l) segments, records from $begin to $end"
