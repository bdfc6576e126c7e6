package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"walkeep/integration/poll"
)

// A Mode is how a server is told to stop, by pg_ctl's names.
type Mode string

// The modes of pg_ctl stop.
const (
	Smart     Mode = "smart"     // waits for clients to leave
	Fast      Mode = "fast"      // disconnects clients, writes a shutdown checkpoint, waits for walsenders
	Immediate Mode = "immediate" // as in a crash, without kill -9
)

func (m Mode) signal() (os.Signal, error) {
	switch m {
	case Smart:
		return syscall.SIGTERM, nil
	case Fast:
		return syscall.SIGINT, nil
	case Immediate:
		return syscall.SIGQUIT, nil
	}
	return nil, fmt.Errorf("unknown stop mode %q", m)
}

const startTimeout = time.Minute

// A process is a running postmaster.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the postmaster is gone and waited for
	err    error         // how it ended; after exited
}

// Start runs the postmaster and waits until it takes connections (or, a standby with hot_standby off, replays).
func (s *Server) Start() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout,
		fmt.Errorf("not within %s", startTimeout))
	defer cancel()
	return s.StartContext(ctx)
}

// StartContext is Start with a limit of the caller's. When it ends early the postmaster goes on starting, unless
// it exited, which is an error too; Running tells.
func (s *Server) StartContext(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return poll.Until(ctx, fmt.Sprintf("PostgreSQL %d to start", s.Major), func(context.Context) (bool, error) {
		if !s.Running() {
			return false, fmt.Errorf("postmaster exited: %w", s.exit())
		}
		lines := pidFile(s.data)
		if len(lines) < 8 || lines[0] != strconv.Itoa(s.proc.cmd.Process.Pid) {
			return false, nil
		}
		status := strings.TrimSpace(lines[7])
		return status == "ready" || status == "standby", nil
	})
}

// launch starts the postmaster without waiting for it to be ready.
func (s *Server) launch() error {
	if s.Running() {
		return errors.New("the server is running already")
	}
	log, err := os.OpenFile(s.logPath(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := append([]string{"-D", s.data}, s.flags...)
	cmd := s.account.command(syscall.SIGQUIT, s.Root, filepath.Join(s.bindir, "postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run postgres: %w", err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	s.proc, s.orphaned = p, false
	return nil
}

// Running says whether the postmaster runs.
func (s *Server) Running() bool {
	if s.proc == nil {
		return false
	}
	select {
	case <-s.proc.exited:
		return false
	default:
		return true
	}
}

// exit is how the postmaster ended.
func (s *Server) exit() error {
	<-s.proc.exited
	if s.proc.err != nil {
		return s.proc.err
	}
	return errors.New("exit status 0")
}

// WaitExit waits for a postmaster that ends by itself, as one does whose recovery fails. The error is a failed
// wait, not a failed server: read Log.
func (s *Server) WaitExit(ctx context.Context) error {
	if s.proc == nil {
		return nil
	}
	select {
	case <-s.proc.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for postmaster to exit: %w", context.Cause(ctx))
	}
}

// Stop stops the server and returns how long that took. After StopTimeout it returns an error and the server
// is still stopping: stopping that hangs is something to look at.
func (s *Server) Stop(mode Mode) (time.Duration, error) {
	sig, err := mode.signal()
	if err != nil {
		return 0, err
	}
	if s.proc == nil {
		return 0, nil
	}
	begin := time.Now()
	if s.Running() {
		if err := s.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return 0, fmt.Errorf("signal postmaster: %w", err)
		}
	}
	select {
	case <-s.proc.exited:
	case <-time.After(s.StopTimeout):
		return time.Since(begin), fmt.Errorf("PostgreSQL %d does not stop (%s) within %s", s.Major, mode, s.StopTimeout)
	}
	s.proc = nil
	return time.Since(begin), nil
}

// Restart stops the server (fast) and starts it on the same port.
func (s *Server) Restart() error {
	if _, err := s.Stop(Fast); err != nil {
		return err
	}
	return s.Start()
}

// Kill9 kills the postmaster and each of its processes at one moment, as a power failure would, and returns when
// they are gone.
func (s *Server) Kill9() error {
	if !s.Running() {
		return errors.New("the server is not running")
	}
	pids, err := s.freeze()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill -9 %d: %w", pid, err)
		}
	}
	<-s.proc.exited
	s.proc, s.orphaned = nil, true
	return poll.For(10*time.Second, "killed processes to vanish", func(context.Context) (bool, error) {
		for _, pid := range pids {
			if st, ok := processStat(pid); ok && st.state != "Z" {
				return false, nil
			}
		}
		return true, nil
	})
}

// Freeze stops every process of the server with SIGSTOP: connections stay open and nothing answers.
func (s *Server) Freeze() error {
	if !s.Running() {
		return errors.New("the server is not running")
	}
	_, err := s.freeze()
	return err
}

// Thaw ends Freeze.
func (s *Server) Thaw() error {
	if !s.Running() {
		return nil
	}
	for _, pid := range family(s.proc.cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("continue %d: %w", pid, err)
		}
	}
	return nil
}

// freeze stops the postmaster first, so that it starts no new process, and returns all.
func (s *Server) freeze() ([]int, error) {
	master := s.proc.cmd.Process.Pid
	if err := syscall.Kill(master, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop postmaster: %w", err)
	}
	err := poll.For(5*time.Second, "postmaster to freeze", func(context.Context) (bool, error) {
		st, ok := processStat(master)
		return !ok || st.state == "T" || st.state == "Z", nil
	})
	if err != nil {
		return nil, err
	}
	pids := family(master)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("stop %d: %w", pid, err)
		}
	}
	return pids, nil
}

// MasterPID is the postmaster's process id; 0 when it does not run.
func (s *Server) MasterPID() int {
	if !s.Running() {
		return 0
	}
	return s.proc.cmd.Process.Pid
}
