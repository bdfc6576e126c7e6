package inspect_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// An archived cluster is a server whose WAL of a varied load a receiver has stored, the tail included.
type archived struct {
	*postgres.Server
	repo     string
	from, to segment.LSN
}

// deadline is generous: other tests run at the same time.
func deadline() time.Duration {
	if walkeep.Long() {
		return time.Hour
	}
	return 5 * time.Minute
}

// archive runs the load on a server of a major version.
func archive(t *testing.T, ctx context.Context, major int) archived {
	t.Helper()
	s := postgres.Start(t, postgres.Options{Major: major, Config: map[string]string{
		"wal_level": "logical", "max_prepared_transactions": "10", "track_commit_timestamp": "on", "wal_keep_size": "4GB",
		"max_wal_size": "4GB", "autovacuum": "off",
	}})
	a := archived{Server: s, repo: "file://" + t.TempDir() + "/repo"}
	r := walkeep.Receive(t, walkeep.ReceiveOptions{Repo: a.repo, DSN: s.DSN()})
	_, err := r.WaitState(ctx, "streaming")
	must(t, err)
	if major >= 15 {
		s.MustExec(t, "CREATE EXTENSION pg_walinspect")
	}
	_, err = s.SwitchWAL(ctx)
	must(t, err)
	s.MustExec(t, "SELECT pg_create_restore_point('begin')")
	a.from, err = s.FlushLSN(ctx)
	must(t, err)
	load(t, ctx, s)
	// The last record at hand is flushed, and not the last of its page.
	s.MustExec(t, "SELECT pg_create_restore_point('end')")
	a.to, err = s.FlushLSN(ctx)
	must(t, err)
	must(t, r.WaitDurable(ctx, a.to))
	return a
}

// load writes WAL of every kind that this test is about.
func load(t *testing.T, ctx context.Context, s *postgres.Server) {
	t.Helper()
	bench(t, ctx, s, "-i", "-q", "-s", "1")
	bench(t, ctx, s, "-c", "2", "-t", "150", "-n")
	for _, batch := range batches {
		s.MustExec(t, batch)
	}
	for _, method := range methods(s.Major) {
		s.MustExec(t, "SET wal_compression = "+method+"; CHECKPOINT; UPDATE pgbench_branches SET bbalance = 1; UPDATE doc SET b = b || 'x'")
	}
	two := []string{
		"BEGIN; INSERT INTO parent VALUES (900); SAVEPOINT s; DELETE FROM parent WHERE id < 10; PREPARE TRANSACTION 'kept'",
		"BEGIN; CREATE TABLE gone (a int); DROP TABLE doomed; UPDATE parent SET id = id + 1000 WHERE id > 90; PREPARE TRANSACTION 'lost'",
	}
	for _, sql := range two {
		s.MustExec(t, sql)
	}
	for _, sql := range []string{
		"COMMIT PREPARED 'kept'", "ROLLBACK PREPARED 'lost'", "VACUUM FULL doc", "VACUUM FULL pg_class", "VACUUM (FREEZE) parent",
		"CREATE DATABASE other", "DROP DATABASE other",
	} {
		s.MustExec(t, sql)
	}
	if s.Major >= 15 {
		s.MustExec(t, "CREATE DATABASE other STRATEGY = file_copy")
		s.MustExec(t, "DROP DATABASE other")
	}
	for walkeep.Long() {
		at, err := s.FlushLSN(ctx)
		must(t, err)
		if at > 1<<30 {
			return
		}
		bench(t, ctx, s, "-i", "-q", "-s", "10")
		bench(t, ctx, s, "-c", "4", "-t", "3000", "-n")
	}
}

// batches are statements that run in one implicit transaction each, unless they say otherwise.
var batches = []string{
	`CREATE TABLE doc (a int PRIMARY KEY, b text);
	 INSERT INTO doc SELECT g, repeat(md5(g::text), 5) FROM generate_series(1, 3000) g;
	 CREATE INDEX ON doc USING gin (to_tsvector('simple', b)); CREATE INDEX ON doc USING hash (b); CREATE INDEX ON doc USING brin (a);
	 CREATE TABLE point (p point); CREATE INDEX ON point USING gist (p); CREATE INDEX ON point USING spgist (p);
	 INSERT INTO point SELECT point(g % 71, g) FROM generate_series(1, 2000) g;
	 CREATE TABLE doomed (a int); CREATE SEQUENCE seq; SELECT nextval('seq')`,
	`CREATE TABLE toasted (a int, b text);
	 ALTER TABLE toasted ALTER b SET STORAGE EXTERNAL;
	 INSERT INTO toasted SELECT g, repeat(md5(g::text), 1000) FROM generate_series(1, 40) g;
	 DELETE FROM toasted WHERE a % 2 = 0`,
	`CREATE TABLE parent (id int) PARTITION BY RANGE (id);
	 CREATE TABLE low PARTITION OF parent FOR VALUES FROM (0) TO (50); CREATE TABLE high PARTITION OF parent FOR VALUES FROM (50) TO (100000);
	 INSERT INTO parent SELECT generate_series(0, 99);
	 UPDATE parent SET id = id + 50 WHERE id BETWEEN 20 AND 30`,
	`BEGIN; INSERT INTO doc VALUES (-1, 'x'); SAVEPOINT a; INSERT INTO doc VALUES (-2, 'y'); SAVEPOINT b; DELETE FROM doc WHERE a = -1;
	 ROLLBACK TO a; INSERT INTO doc VALUES (-3, 'z'); COMMIT`,
	`BEGIN; CREATE TABLE rolled (a int); INSERT INTO rolled SELECT generate_series(1, 100); DELETE FROM doc WHERE a < 50; ROLLBACK`,
	`DO $$ BEGIN FOR i IN 1..100 LOOP BEGIN INSERT INTO doc VALUES (-100 - i, 'sub'); EXCEPTION WHEN others THEN NULL; END; END LOOP; END $$`,
	`INSERT INTO doc VALUES (1, 'conflict'), (-500, 'new') ON CONFLICT (a) DO UPDATE SET b = excluded.b`,
	`SELECT pg_logical_emit_message(true, 'prefix', 'in a transaction'); SELECT pg_logical_emit_message(false, 'prefix', repeat('long ', 300000))`,
	`CREATE TABLE cut (a int PRIMARY KEY, b text); INSERT INTO cut SELECT g, 'x' FROM generate_series(1, 500) g`,
	`TRUNCATE cut RESTART IDENTITY`,
	`ALTER TABLE doc ADD c int DEFAULT 7; ALTER TABLE doc ALTER c TYPE bigint; DROP TABLE cut; DROP INDEX doc_b_idx`,
	`DELETE FROM doc WHERE a BETWEEN 1000 AND 1500`,
	`SELECT a FROM doc WHERE a = 2000 FOR UPDATE; UPDATE doc SET b = 'hot' WHERE a = 2001`,
	`SELECT pg_replication_origin_create('elsewhere')`,
	`BEGIN; SELECT pg_replication_origin_session_setup('elsewhere'); SELECT pg_replication_origin_xact_setup('1/2345', '2026-01-01 12:00:00+00');
	 INSERT INTO doc VALUES (-600, 'from elsewhere'); COMMIT`,
	`CREATE ROLE somebody; COMMENT ON ROLE somebody IS 'shared catalogs'; DROP ROLE somebody`,
}

// methods are the values of wal_compression that the builds have.
func methods(major int) []string {
	switch {
	case major < 15:
		return []string{"on"}
	case major == 15: // Debian's
		return []string{"pglz", "lz4", "zstd"}
	}
	return []string{"pglz"}
}

func bench(t *testing.T, ctx context.Context, s *postgres.Server, args ...string) {
	t.Helper()
	args = append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(s.Port), "-U", "postgres"}, append(args, "postgres")...)
	out, err := exec.CommandContext(ctx, postgres.Tool("pgbench"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
