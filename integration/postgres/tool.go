package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Pgbench runs PostgreSQL 15's pgbench against the server, of any version, until it ends or ctx does.
func (s *Server) Pgbench(ctx context.Context, args ...string) error {
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "postgres"}, args...)
	return s.tool(ctx, "pgbench", append(args, "postgres")...)
}

// PgbenchInit makes pgbench's tables, 100,000 accounts (about 15 MB) per unit of scale.
func (s *Server) PgbenchInit(ctx context.Context, scale int) error {
	return s.Pgbench(ctx, "-i", "-q", "-s", strconv.Itoa(scale))
}

// BaseBackup runs pg_basebackup of PostgreSQL 15, which refuses servers newer than itself, as the account
// servers run as: dir's parent must be open to it. Its checkpoint is fast.
func (s *Server) BaseBackup(ctx context.Context, dir string, args ...string) error {
	args = append([]string{"-d", s.DSN(), "-D", dir, "-c", "fast"}, args...)
	return s.tool(ctx, "pg_basebackup", args...)
}

// tool runs a client program of PostgreSQL 15 as the server's account.
func (s *Server) tool(ctx context.Context, name string, args ...string) error {
	prepared := s.account.command(syscall.SIGKILL, s.Root, Tool(name), args...)
	cmd := exec.CommandContext(ctx, prepared.Path, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = prepared.Dir, prepared.Env, prepared.SysProcAttr
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// Promote makes a standby a primary on a new timeline and returns when it takes writes.
func (s *Server) Promote(ctx context.Context) error {
	done, err := s.Query(ctx, "SELECT pg_promote(true, 60)")
	if err != nil {
		return err
	}
	if done != "t" && done != "true" {
		return fmt.Errorf("the standby on port %d was not promoted within a minute", s.Port)
	}
	return nil
}

// TempDir makes a directory the server's account can write to, removed with the server.
func (s *Server) TempDir() (string, error) {
	dir, err := os.MkdirTemp(s.Root, "tmp-")
	if err != nil {
		return "", err
	}
	return dir, s.account.own(dir)
}
