package replication_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/replication"
)

// testTimeout bounds each test against a real server.
const testTimeout = 2 * time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// forMajors runs the test against several versions of PostgreSQL, with -short against one.
func forMajors(t *testing.T, majors []int, test func(t *testing.T, major int)) {
	for _, major := range majors {
		if testing.Short() && major != 15 {
			continue
		}
		t.Run(strconv.Itoa(major), func(t *testing.T) { test(t, major) })
	}
}

func config(t *testing.T, dsn string) *replication.Config {
	t.Helper()
	cfg, err := replication.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func connectTo(t *testing.T, dsn string) (*replication.Conn, error) {
	t.Helper()
	isolate(t)
	cfg := config(t, dsn)
	c, err := replication.Connect(testContext(t), cfg, cfg.Hosts()[0])
	if err == nil {
		t.Cleanup(func() { closeConn(t, c) })
	}
	return c, err
}

func closeConn(t *testing.T, c *replication.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func mustConnect(t *testing.T, s *postgres.Server) *replication.Conn {
	t.Helper()
	c, err := connectTo(t, s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustOpenSQL(t *testing.T, s *postgres.Server) *replication.SQL {
	t.Helper()
	isolate(t)
	cfg := config(t, s.DSN())
	sql, err := replication.OpenSQL(testContext(t), cfg, cfg.Hosts()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sql.Close(context.WithoutCancel(testContext(t))); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sql
}

// startStream hijacks the connection and starts a stream, so that the slot is in use. The socket is closed
// when the test ends, or by the returned function.
func startStream(t *testing.T, c *replication.Conn, command string) (stop func()) {
	t.Helper()
	pid := c.PID()
	socket, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = socket.Close() }
	t.Cleanup(stop)
	if c.PID() != pid || c.ParameterStatus("server_version") == "" {
		t.Errorf("after Hijack: PID %d, server_version %q", c.PID(), c.ParameterStatus("server_version"))
	}
	frontend := pgproto3.NewFrontend(socket, socket)
	frontend.Send(&pgproto3.Query{String: command})
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	m, err := frontend.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.(*pgproto3.CopyBothResponse); !ok {
		t.Fatalf("%s: got %T %+v", command, m, m)
	}
	return stop
}

// waitLost makes WAL and checkpoints until the server has given up the slot.
func waitLost(t *testing.T, s *postgres.Server, slot string) {
	t.Helper()
	ctx := testContext(t)
	err := poll.Until(ctx, "slot to be lost", func(ctx context.Context) (bool, error) {
		for range 3 {
			if _, err := s.SwitchWAL(ctx); err != nil {
				return false, err
			}
		}
		if err := s.Exec(ctx, "CHECKPOINT"); err != nil {
			return false, err
		}
		status, err := s.Query(ctx, "SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = $1", slot)
		return status == "lost", err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// setHBA replaces pg_hba.conf.
func setHBA(t *testing.T, s *postgres.Server, lines ...string) {
	t.Helper()
	path := filepath.Join(s.DataDir(), "pg_hba.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(testContext(t)); err != nil {
		t.Fatal(err)
	}
}
