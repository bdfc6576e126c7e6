package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Server is a PostgreSQL server of ours on an existing or a new data directory. It listens on a Unix socket only, in the
// directory of its log. Its methods are for one goroutine.
type Server struct {
	Installation Installation
	Account      Account
	DataDir      string
	RunDir       string // holds its socket and its log, "postgres.log"; the account must own it

	running *exec.Cmd
	exited  chan struct{} // closed when running has ended
}

// serverPort is part of the socket's name only.
const serverPort = "5432"

// DSN is a connection string for database postgres.
func (s *Server) DSN() string {
	return fmt.Sprintf("host='%s' port=%s user=postgres dbname=postgres", strings.ReplaceAll(s.RunDir, "'", `\'`), serverPort)
}

// Init makes a new cluster in DataDir, whose superuser is postgres and asks for no password.
func (s *Server) Init(ctx context.Context) error {
	return s.Account.run(ctx, s.RunDir, s.Installation.Program("initdb"), "--pgdata", s.DataDir, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
}

// Configure adds settings to postgresql.conf; the last one of a name counts, from the next start on.
func (s *Server) Configure(settings map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// Start runs the server and waits until it is open: for reading, if it is in recovery and hot_standby is on, else for writing.
// It stops when ctx ends early.
func (s *Server) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.Account.Command(context.WithoutCancel(ctx), s.RunDir, s.Installation.Program("postgres"), "-D", s.DataDir,
		"-c", "listen_addresses=", "-c", "port="+serverPort, "-c", "unix_socket_directories="+s.RunDir, "-c", "unix_socket_permissions=0700")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the log has what matters
		close(exited)
	}()
	s.running, s.exited = cmd, exited
	if err := s.awaitReady(ctx); err != nil {
		return errors.Join(err, s.Kill9())
	}
	return nil
}

// awaitReady waits for the word "ready" in the eighth line of postmaster.pid (miscadmin.h: LOCK_FILE_LINE_PM_STATUS).
func (s *Server) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lines := s.pidFile()
		if len(lines) >= 8 && lines[0] == fmt.Sprint(s.running.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("the server has stopped (%s): %s", s.running.ProcessState, s.LastError())
		case <-ctx.Done():
			return fmt.Errorf("start the server: %w", context.Cause(ctx))
		}
	}
}

func (s *Server) pidFile() []string {
	b, err := os.ReadFile(filepath.Join(s.DataDir, "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(b), "\n")
}

// LogPath is where its log is.
func (s *Server) LogPath() string { return filepath.Join(s.RunDir, "postgres.log") }

// LastError is the last line of the log that says FATAL or PANIC, and what fetch said before it, else the last line.
func (s *Server) LastError() string {
	b, err := os.ReadFile(s.LogPath())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	said := ""
	for _, line := range slices.Backward(lines) {
		switch {
		case said == "" && (strings.Contains(line, "FATAL: ") || strings.Contains(line, "PANIC: ")):
			said = line
		case said != "" && strings.HasPrefix(line, "walkeep: "):
			return said + " (" + line + ")"
		}
	}
	if said == "" {
		said = lines[len(lines)-1]
	}
	return said
}

// Stop shuts the server down as pg_ctl stop -m fast does; after limit it is killed.
func (s *Server) Stop(limit time.Duration) error {
	if s.running == nil {
		return nil
	}
	if err := s.running.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.exited:
		s.running = nil
		return nil
	case <-time.After(limit):
		return s.Kill9()
	}
}
