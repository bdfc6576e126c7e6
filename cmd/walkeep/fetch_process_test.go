package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wrapped is restore_command as we print it, with the test binary in walkeep's part.
const wrapped = `%s fetch --repo %s %%s %%s || exit $(( $? == 1 ? 1 : 200 ))`

// shell runs a command line as PostgreSQL does and returns the exit code, or 128 and the signal.
func shell(t *testing.T, before, program, repo, file, target string) (code int, output string) {
	t.Helper()
	line := before + fmt.Sprintf(fmt.Sprintf(wrapped, program, repo), file, target)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
	cmd.Env = append(os.Environ(), childVariable+"=")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, string(out)
	case errors.As(err, &exit):
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), string(out)
		}
		return exit.ExitCode(), string(out)
	}
	t.Fatal(err)
	return 0, ""
}

// process builds walkeep: a test binary would be another program under a limit of its memory.
func process(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "walkeep")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// S53: whatever happens to fetch itself, the restore_command that we print gives PostgreSQL a code that stops recovery, and
// 0 and 1 only as fetch's own answers.
func TestS53WrappedFetch(t *testing.T) {
	program := process(t)
	repo, _ := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	const absent = "000000010000000000000009"
	hangs := blackHole(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	// killed runs fetch against a store that never answers and kills it.
	killed := func(signal string) string {
		return fmt.Sprintf("WALKEEP_S3_ENDPOINT=http://%s; export WALKEEP_S3_ENDPOINT; "+
			"( for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; pkill -%s -P $$ -x walkeep && exit; done ) & ", hangs, signal)
	}
	for what, c := range map[string]struct {
		before, program, repo, file string
		code                        int
	}{
		"found":               {"", program, repo, fetchSegment2, 0},
		"absent":              {"", program, repo, absent, 1},
		"hole":                {"", program, repo, "000000010000000000000005", 200},
		"not installed":       {"", program + "-is-not-installed", repo, fetchSegment2, 200},
		"not executable":      {"", filepath.Join(filepath.Dir(program), "."), repo, fetchSegment2, 200},
		"no memory to start":  {"ulimit -v 4000; ", program, repo, absent, 200},
		"little memory":       {"ulimit -v 150000; ", program, repo, fetchSegment2, -1},
		"no room for target":  {"ulimit -f 100; ", program, repo, fetchSegment2, 200},
		"no files to open":    {"ulimit -n 4; ", program, repo, absent, 200},
		"kill -9":             {killed("KILL"), program, "s3://bucket/prefix", absent, 200},
		"kill -SEGV":          {killed("SEGV"), program, "s3://bucket/prefix", absent, 200},
		"kill -ABRT":          {killed("ABRT"), program, "s3://bucket/prefix", absent, 200},
		"kill -TERM":          {killed("TERM"), program, "s3://bucket/prefix", absent, 200},
		"store doesn't exist": {"", program, "file:///nonexistent", absent, 200},
	} {
		t.Run(what, func(t *testing.T) {
			code, output := shell(t, c.before, c.program, c.repo, c.file, fetchTarget)
			if c.code == -1 && (code == 0 || code == 200) {
				return // it may do with that memory or not
			}
			if code != c.code {
				t.Errorf("exit %d, want %d:\n%s", code, c.code, output)
			}
		})
	}
}

// blackHole is an address that takes connections and never answers.
func blackHole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	})
	return l.Addr().String()
}

// S33: a store, or a server, that takes connections and never answers. Each command ends by itself and says why.
func TestS33BlackHole(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	dataDirectory(t, fetchSystem)
	hole := blackHole(t)
	server := "postgres://x@" + hole + "/?sslmode=disable&connect_timeout=2"
	store := []string{"WALKEEP_S3_ENDPOINT=http://" + hole, "WALKEEP_REPO=s3://bucket/prefix"}
	impatient := append([]string{"WALKEEP_S3_TIMEOUT=500ms"}, store...)
	var running sync.WaitGroup
	for _, c := range []struct {
		args  string
		env   []string
		code  exitCode
		limit time.Duration
		says  string
	}{
		{"fetch --wait 2s " + fetchSegment2 + " " + fetchTarget, store, exitUnknown, 10 * time.Second, "--wait 2s"},
		{"fetch --wait 2s " + fetchSegment2 + " " + fetchTarget, impatient, exitUnknown, 10 * time.Second, "silent for 500ms"},
		{"fetch --wait 2s 00000002.history " + fetchTarget, store, exitUnknown, 10 * time.Second, "--wait 2s"},
		{"list --wait 2s", store, exitFailure, 10 * time.Second, "--wait 2s"},
		{"list --wait 2s --json", impatient, exitFailure, 10 * time.Second, "silent for 500ms"},
		{"check --primary " + server, impatient, exitFailure, 40 * time.Second, "silent for 500ms"},
		{"check --primary " + server, store, exitFailure, 80 * time.Second, "FAIL  repository_list"},
		{"slot list --primary " + server, nil, exitFailure, 40 * time.Second, "127.0.0.1"},
		{"slot drop --primary " + server, nil, exitFailure, 40 * time.Second, "127.0.0.1"},
		{"status --url " + hole, nil, exitFailure, 20 * time.Second, "no receiver answers"},
	} {
		running.Go(func() {
			begin := time.Now()
			got := walkeep(t.Context(), c.env, strings.Fields(c.args)...)
			if took := time.Since(begin); took > c.limit {
				t.Errorf("%s took %s", c.args, took)
			}
			if got.code != c.code || !strings.Contains(got.stdout+got.stderr, c.says) || strings.Contains(got.stderr, "interrupted") {
				t.Errorf("%s: exit %d, want %d and %q:\n%s%s", c.args, got.code, c.code, c.says, got.stdout, got.stderr)
			}
		})
	}
	running.Wait()
}
