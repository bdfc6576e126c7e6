package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walkeep/restore"
)

// fakeBindir makes programs that say that they are postgres of a version.
func fakeBindir(t *testing.T, version string, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindInstallation(t *testing.T) {
	for _, c := range []struct {
		version  string
		programs string
		major    int
		says     string
	}{
		{"15.14 (Debian 15.14-0+deb12u1)", "postgres initdb", 15, ""},
		{"18.0", "postgres initdb pg_basebackup", 18, ""},
		{"18beta1", "postgres initdb", 18, ""},
		{"12.22", "postgres initdb", 0, "it is PostgreSQL 12.22, walkeep knows 13 to 18"},
		{"19.0", "postgres initdb", 0, "it is PostgreSQL 19.0"},
		{"x", "postgres initdb", 0, "postgres --version says"},
		{"15.1", "postgres", 0, "there is no initdb"},
		{"15.1", "", 0, "there is no postgres"},
	} {
		dir := fakeBindir(t, c.version, strings.Fields(c.programs)...)
		got, err := restore.FindInstallation(t.Context(), dir, "initdb")
		if c.says == "" {
			if err != nil || got.Major != c.major || got.Bindir != dir || !strings.HasPrefix(c.version, got.Version) {
				t.Errorf("%s: %+v, %v", c.version, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %+v, %v; want %q", c.version, got, err, c.says)
		}
	}
}

func TestFindInstallationInPath(t *testing.T) {
	t.Setenv("PATH", fakeBindir(t, "18.99", "postgres", "only-here")+":"+os.Getenv("PATH"))
	got, err := restore.FindInstallation(t.Context(), "", "only-here")
	if err != nil || got.Version != "18.99" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := restore.FindInstallation(t.Context(), "", "nowhere"); err == nil || !strings.Contains(err.Error(), "/usr/lib/postgresql/") {
		t.Errorf("%v doesn't say where it looked", err)
	}
}

// newServer makes a server of the installed PostgreSQL, of whatever version.
func newServer(t *testing.T) *restore.Server {
	t.Helper()
	installation, err := restore.FindInstallation(t.Context(), "", "initdb")
	if err != nil {
		t.Fatal(err)
	}
	account, err := restore.ServerAccount()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "walkeep-test-it's-") // the account can't enter the test's own
	if err != nil {
		t.Fatal(err)
	}
	if err := account.Own(run); err != nil {
		t.Fatal(err)
	}
	s := &restore.Server{Installation: installation, Account: account, DataDir: filepath.Join(run, "data"), RunDir: run}
	t.Cleanup(func() {
		if err := s.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, s *restore.Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestServer(t *testing.T) {
	s := newServer(t)
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Configure(map[string]string{"cluster_name": "it's", "dynamic_shared_memory_type": "mmap"}); err != nil {
		t.Fatal(err)
	}
	for _, stop := range []func() error{s.Kill9, func() error { return s.Stop(time.Minute) }, func() error { return s.Stop(0) }} {
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, s, "SHOW cluster_name"); got != "it's" {
			t.Errorf("cluster_name is %q", got)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.Connect(t.Context(), s.DSN()); err == nil {
			t.Error("the server still answers")
		}
	}
}

// A server that can't start says why, and one that is told to give up is gone.
func TestServerThatDoesNotStart(t *testing.T) {
	s := newServer(t)
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.DataDir, "recovery.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Configure(map[string]string{"restore_command": "echo 'walkeep: on purpose' >&2; exit 200"}); err != nil {
		t.Fatal(err)
	}
	err := s.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "FATAL") || !strings.Contains(err.Error(), "walkeep: on purpose") {
		t.Errorf("Start: %v", err)
	}
	if err := s.Configure(map[string]string{"restore_command": "sleep 60"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Start(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("Start: %v", err)
	}
	if err := s.Init(t.Context()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("initdb over a cluster: %v", err)
	}
}
