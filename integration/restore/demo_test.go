package restore_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/poll"
	"walkeep/integration/walkeep"
)

// demoDir is a directory for a demonstration that every account may enter, as /tmp.
func demoDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "walkeep-test-demo-")
	must(t, err)
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// leftNothing checks that neither files nor processes of a demonstration are left.
func leftNothing(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	must(t, poll.For(10*time.Second, "the demonstration's processes to end", func(context.Context) (bool, error) {
		return len(mentioning(dir)) == 0, nil
	}))
}

// mentioning returns the processes whose command line has the text.
func mentioning(text string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if line, err := os.ReadFile(file); err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// The demonstration tells its story, proves it, and leaves nothing behind.
func TestDemo(t *testing.T) {
	dir := demoDir(t)
	r := walkeep.Call{Args: []string{"demo"}, Env: []string{"TMPDIR=" + dir}}.Run(t)
	if r.Exit != 0 || r.Stderr != "" {
		t.Errorf("exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for _, want := range []string{"commits recovered", "not one is lost", "walkeep receive --repo", "walkeep slot drop", "disaster"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("it doesn't say %q:\n%s", want, r.Stdout)
		}
	}
	leftNothing(t, dir)
	t.Logf("took %s:\n%s", r.Took, r.Stdout)
}

// Interrupted wherever it stands, and more than once, it cleans up and says that it was not to the end.
func TestDemoInterrupted(t *testing.T) {
	for _, until := range []string{"PostgreSQL", "base backup", "disaster"} {
		t.Run(until, func(t *testing.T) {
			ctx := limit(t, 2*time.Minute)
			dir := demoDir(t)
			var out output
			cmd := exec.CommandContext(ctx, walkeep.Binary(t), "demo")
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			cmd.Stdout, cmd.Stderr = &out, &out
			must(t, cmd.Start())
			must(t, poll.Until(ctx, until, func(context.Context) (bool, error) { return strings.Contains(out.String(), until), nil }))
			for range 3 {
				must(t, cmd.Process.Signal(syscall.SIGINT))
			}
			err := cmd.Wait()
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("%v\n%s", err, out.String())
			}
			leftNothing(t, dir)
		})
	}
}

// Killed itself, it takes its servers with it: the kernel does that.
func TestDemoKilled(t *testing.T) {
	ctx := limit(t, time.Minute)
	dir := demoDir(t)
	var out output
	cmd := exec.CommandContext(ctx, walkeep.Binary(t), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Stdout = &out
	must(t, cmd.Start())
	must(t, poll.Until(ctx, "base backup", func(context.Context) (bool, error) { return strings.Contains(out.String(), "base backup"), nil }))
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	must(t, os.RemoveAll(dir))
	leftNothing(t, dir)
}
