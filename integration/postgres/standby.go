package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Standby runs a hot standby of the server until the test ends. It streams from the server, by way of through
// (host:port) if that is not empty. o.Config goes above the copied settings; the rest of o is ignored. It shares
// the primary's OracleDir: after a promotion both archive there, as nodes of one cluster do.
func (s *Server) Standby(t testing.TB, through string, o Options) *Server {
	t.Helper()
	standby, err := s.newStandby(through, o)
	return register(t, standby, err)
}

func (s *Server) newStandby(through string, o Options) (*Server, error) {
	o.Major = s.Major
	standby, err := newServer(o)
	if err != nil {
		return nil, err
	}
	standby.OracleDir = s.OracleDir
	if through == "" {
		through = s.Addr()
	}
	err = errors.Join(
		s.copyTo(standby.data),
		os.WriteFile(filepath.Join(standby.data, "standby.signal"), nil, 0o600),
		standby.AppendConfig(map[string]string{"primary_conninfo": s.DSNAt(through), "recovery_target_timeline": "latest"}),
		standby.AppendConfig(o.Config),
		standby.account.own(standby.Root),
	)
	if err == nil {
		err = standby.Start()
	}
	if err != nil {
		err = fmt.Errorf("standby of PostgreSQL %d: %w\n%s", s.Major, err, standby.Log(30))
		_ = standby.Close()
		return nil, err
	}
	return standby, nil
}

// copyTo takes a base backup by PostgreSQL's low-level interface, which unlike pg_basebackup's binary works with
// every version: start, copy the files, stop, then the WAL.
func (s *Server) copyTo(data string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	start, stop := "SELECT pg_backup_start('standby', true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if s.Major < 15 {
		start, stop = "SELECT pg_start_backup('standby', true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	if _, err := conn.Exec(ctx, start); err != nil {
		return fmt.Errorf("%s: %w", start, err)
	}
	if err := copyTree(s.data, data, skipInCopy); err != nil {
		return err
	}
	var label string
	if err := conn.QueryRow(ctx, stop).Scan(&label); err != nil {
		return fmt.Errorf("%s: %w", stop, err)
	}
	if err := copyTree(filepath.Join(s.data, "pg_wal"), filepath.Join(data, "pg_wal"), nil); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, "backup_label"), []byte(label), 0o600)
}

// skipInCopy names what a copy of a running cluster leaves out: see basebackup.c, excludeDirContents.
func skipInCopy(rel string) bool {
	switch rel {
	case "postmaster.pid", "postmaster.opts", "backup_label":
		return true
	}
	for _, dir := range []string{"pg_wal/", "pg_replslot/", "pg_dynshmem/", "pg_notify/", "pg_snapshots/", "pg_stat_tmp/"} {
		if strings.HasPrefix(rel, dir) {
			return true
		}
	}
	return false
}

// copyTree copies directories and files; files that vanish meanwhile are none.
func copyTree(from, to string, skip func(rel string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case skip != nil && skip(rel):
			return nil
		case d.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, 0o700)
		case d.Type().IsRegular():
			return copyFile(path, target)
		}
		return fmt.Errorf("copy %s: neither file nor directory (a tablespace?)", path)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
