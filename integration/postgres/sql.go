package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/poll"
	"walkeep/segment"
)

// Connect opens a connection for SQL. The caller closes it.
func (s *Server) Connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, s.DSN())
}

// Exec runs one or more statements on a connection of their own. With arguments, one statement.
func (s *Server) Exec(ctx context.Context, sql string, args ...any) error {
	conn, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Query returns the first column of the first row as text.
func (s *Server) Query(ctx context.Context, sql string, args ...any) (string, error) {
	conn, err := s.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Close()
	var value string
	if rows.Next() {
		value = string(rows.RawValues()[0])
		rows.Close()
	} else if rows.Err() == nil {
		return "", fmt.Errorf("%s: no rows", sql)
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	return value, nil
}

// sqlTimeout bounds the statements of the Must helpers.
const sqlTimeout = time.Minute

// MustExec is Exec that ends the test on an error.
func (s *Server) MustExec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	if err := s.Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
}

// MustQuery is Query that ends the test on an error.
func (s *Server) MustQuery(t testing.TB, sql string, args ...any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	v, err := s.Query(ctx, sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// MustDropSlot drops a replication slot as soon as nobody uses it: the server may not have noticed yet that its user has left.
func (s *Server) MustDropSlot(t testing.TB, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var last error
	err := poll.Until(ctx, "slot "+name+" to be free", func(ctx context.Context) (bool, error) {
		last = s.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(err, last)
	}
}

// Reload makes the server read its configuration files again.
func (s *Server) Reload(ctx context.Context) error {
	return s.Exec(ctx, "SELECT pg_reload_conf()")
}

// CurrentLSN is where the primary writes next: the end of the last record inserted.
func (s *Server) CurrentLSN(ctx context.Context) (segment.LSN, error) {
	return s.lsn(ctx, "SELECT pg_current_wal_insert_lsn()")
}

// FlushLSN is up to where the WAL is on disk: on a standby, received and flushed.
func (s *Server) FlushLSN(ctx context.Context) (segment.LSN, error) {
	return s.lsn(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END`)
}

// ReplayLSN is up to where a standby has replayed.
func (s *Server) ReplayLSN(ctx context.Context) (segment.LSN, error) {
	return s.lsn(ctx, "SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')")
}

// SwitchWAL ends the segment being written, after a record that makes sure there is something to end, and
// returns the position after the switch record.
func (s *Server) SwitchWAL(ctx context.Context) (segment.LSN, error) {
	if err := s.Exec(ctx, "SELECT pg_create_restore_point('harness')"); err != nil {
		return 0, err
	}
	return s.lsn(ctx, "SELECT pg_switch_wal()")
}

func (s *Server) lsn(ctx context.Context, sql string) (segment.LSN, error) {
	text, err := s.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	return segment.ParseLSN(text)
}

// SystemID is the cluster's system identifier.
func (s *Server) SystemID(ctx context.Context) (string, error) {
	return s.Query(ctx, "SELECT system_identifier FROM pg_control_system()")
}

// WaitReplay waits until a standby has replayed up to lsn.
func (s *Server) WaitReplay(ctx context.Context, lsn segment.LSN) error {
	return poll.Until(ctx, fmt.Sprintf("replay of %s", lsn), func(ctx context.Context) (bool, error) {
		at, err := s.ReplayLSN(ctx)
		return at >= lsn, err
	})
}

// ArchiveSegment ends the segment being written and returns its name when archive_command has stored it.
func (s *Server) ArchiveSegment(ctx context.Context) (string, error) {
	lsn, err := s.SwitchWAL(ctx)
	if err != nil {
		return "", err
	}
	name, err := s.Query(ctx, "SELECT pg_walfile_name($1::pg_lsn)", lsn.String())
	if err != nil {
		return "", err
	}
	return name, s.WaitArchived(ctx, name)
}

// WaitArchived waits until archive_command has stored the file (a segment, a history) in OracleDir.
func (s *Server) WaitArchived(ctx context.Context, file string) error {
	return poll.Until(ctx, "archive_command to store "+file, func(context.Context) (bool, error) {
		_, err := os.Stat(filepath.Join(s.OracleDir, file))
		if os.IsNotExist(err) {
			return false, nil
		}
		return err == nil, err
	})
}
