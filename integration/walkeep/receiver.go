package walkeep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/port"
)

// ReceiveOptions are the arguments of walkeep receive.
type ReceiveOptions struct {
	Repo string   // repository URL
	DSN  string   // the primary
	Slot string   // "" is walkeep's default
	Args []string // further arguments
	Env  []string // KEY=value, beside the test's own environment
}

// A Receiver is a running `walkeep receive`.
type Receiver struct {
	Addr string // where it serves its status

	cmd    *exec.Cmd
	out    output // stdout and stderr
	exited chan struct{}
}

// stopTimeout is how long a receiver may take to leave at the end of a test.
const stopTimeout = 30 * time.Second

// Receive starts a receiver and returns at once; WaitState and WaitDurable wait. It is killed when the test ends,
// and its output shown if the test failed.
func Receive(t testing.TB, o ReceiveOptions) *Receiver {
	t.Helper()
	n, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{Addr: fmt.Sprintf("127.0.0.1:%d", n), exited: make(chan struct{})}
	args := []string{"receive", "--repo", o.Repo, "--primary", o.DSN, "--listen", r.Addr}
	if o.Slot != "" {
		args = append(args, "--slot", o.Slot)
	}
	r.cmd = Call{Args: append(args, o.Args...), Env: o.Env}.command(Binary(t))
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("walkeep receive: %v", err)
	}
	go func() {
		_ = r.cmd.Wait() // ProcessState has what matters
		close(r.exited)
	}()
	t.Cleanup(func() {
		_ = r.Kill9()
		if t.Failed() {
			t.Logf("walkeep receive, pid %d, %s, said:\n%s", r.cmd.Process.Pid, r.cmd.ProcessState, r.out.tail(120))
		}
	})
	return r
}

// Log is all the receiver has printed.
func (r *Receiver) Log() string { return r.out.String() }

// PID is its process id.
func (r *Receiver) PID() int { return r.cmd.Process.Pid }

// Running says whether it has not exited.
func (r *Receiver) Running() bool {
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

// Signal sends it a signal. SIGSTOP and SIGCONT work as anywhere.
func (r *Receiver) Signal(sig os.Signal) error {
	err := r.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill9 kills it and returns when it is gone.
func (r *Receiver) Kill9() error {
	if err := r.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-r.exited
	return nil
}

// Term asks it to leave and returns its exit code. After half a minute it is an error, and the receiver is still
// there.
func (r *Receiver) Term() (exit int, err error) {
	if err := r.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), stopTimeout,
		fmt.Errorf("not within %s of SIGTERM", stopTimeout))
	defer cancel()
	return r.Wait(ctx)
}

// Wait waits until it exits by itself and returns its exit code; -1 when a signal ended it.
func (r *Receiver) Wait(ctx context.Context) (exit int, err error) {
	select {
	case <-r.exited:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for walkeep receive to exit: %w", context.Cause(ctx))
	}
}

// PeakMemory is the most resident memory it has taken so far, in bytes (VmHWM in /proc/PID/status).
func (r *Receiver) PeakMemory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("the receiver has no memory: it has exited")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

// Get asks the receiver's web server: "/metrics", "/healthz" ...
func (r *Receiver) Get(ctx context.Context, path string) (code int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// State is what the operating system says of it once it has exited: CPU time, peak memory. Nil before.
func (r *Receiver) State() *os.ProcessState {
	if r.Running() {
		return nil
	}
	return r.cmd.ProcessState
}
