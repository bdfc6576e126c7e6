// Package walkeep runs the real binary in tests: as a command with an end, and as a receiver that is watched
// through its status page, the way an operator would.
//
// Its invariant: nothing it started outlives the test process, and a failed test shows what the binary said.
package walkeep

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/postgres"
)

// buildOnce compiles walkeep once per test process; the Go build cache makes the next processes quick.
var buildOnce = sync.OnceValues(build)

// Binary returns the path of a walkeep built from this checkout, in a place that every user may enter, since
// PostgreSQL's account runs it as restore_command. WALKEEP_TEST_BINARY names a ready one instead;
// WALKEEP_TEST_RACE=1 builds with the race detector.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Long says whether tests take the sizes and times that the scenarios name, under `make torture`
// (WALKEEP_TORTURE=1), rather than ones that fit into a test run of minutes.
func Long() bool { return os.Getenv("WALKEEP_TORTURE") != "" }

func build() (string, error) {
	if path := os.Getenv("WALKEEP_TEST_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	root := postgres.ModuleRoot()
	args, env, variant := []string{"build", "-buildvcs=false"}, "CGO_ENABLED=0", "plain"
	if os.Getenv("WALKEEP_TEST_RACE") != "" {
		args, env, variant = append(args, "-race"), "CGO_ENABLED=1", "race"
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("walkeep-test-%d-%x", os.Getuid(), sha256.Sum256([]byte(root)))[:32], variant)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fresh := filepath.Join(dir, fmt.Sprintf("building-%d", os.Getpid()))
	defer func() { _ = os.Remove(fresh) }()
	cmd := exec.Command("go", append(args, "-o", fresh, "./cmd/walkeep")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build walkeep: %w\n%s", err, out)
	}
	// A rename leaves the file in peace that other processes are running.
	path := filepath.Join(dir, "walkeep")
	return path, os.Rename(fresh, path)
}

// A Call is one command line of walkeep.
type Call struct {
	Args  []string
	Env   []string      // KEY=value, beside the test's own environment
	Dir   string        // working directory; "" is the test's
	Limit time.Duration // killed, and the test ended, after it; 0 means two minutes
}

// A Result is how a Call ended.
type Result struct {
	Stdout, Stderr string
	Exit           int // -1 when a signal ended it
	Took           time.Duration
}

// Run runs walkeep with the arguments and returns what it said.
func Run(t testing.TB, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	r := Call{Args: args}.Run(t)
	return r.Stdout, r.Stderr, r.Exit
}

// MustRun is Run that ends the test unless the exit code is 0, and returns stdout.
func MustRun(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, exit := Run(t, args...)
	if exit != 0 {
		t.Fatalf("walkeep %q: exit code %d\n%s%s", args, exit, stdout, stderr)
	}
	return stdout
}

// Run runs the command to its end.
func (c Call) Run(t testing.TB) Result {
	t.Helper()
	limit := c.Limit
	if limit == 0 {
		limit = 2 * time.Minute
	}
	var stdout, stderr output
	cmd := c.command(Binary(t))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("walkeep %q: %v", c.Args, err)
	}
	var late sync.Once
	killed := make(chan struct{})
	timer := time.AfterFunc(limit, func() {
		late.Do(func() { close(killed) })
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	timer.Stop()
	select {
	case <-killed:
		t.Fatalf("walkeep %q did not end within %s\n%s%s", c.Args, limit, stdout.String(), stderr.String())
	default:
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("walkeep %q: %v", c.Args, err)
	}
	return Result{
		Stdout: stdout.String(), Stderr: stderr.String(),
		Exit: cmd.ProcessState.ExitCode(), Took: time.Since(begin),
	}
}

func (c Call) command(binary string) *exec.Cmd {
	cmd := exec.Command(binary, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A grandchild that keeps the pipes open must not keep us.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
