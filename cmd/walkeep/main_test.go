package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes the test binary play a process of its own.
const childVariable = "WALKEEP_TEST_CHILD"

func TestMain(m *testing.M) {
	switch role := os.Getenv(childVariable); role {
	case "":
		goleak.VerifyTestMain(m)
	case "deaf":
		deafMain()
	case "panic":
		panicMain()
	default:
		os.Args = append([]string{"walkeep"}, strings.Fields(role)...)
		main()
	}
}

// child returns a process that plays role: "deaf", "panic", or a command line of walkeep.
func child(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	cmd.Dir = t.TempDir()
	return cmd
}

// deafMain takes notice of the first signal and then hangs.
func deafMain() {
	ctx := signalContext()
	fmt.Println("started")
	<-ctx.Done()
	fmt.Println("cancelled")
	select {}
}

// panicMain runs fetch against a store that makes a goroutine of the process panic.
func panicMain() {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		go panic("on purpose")
		select {}
	}))
	for name, value := range map[string]string{
		"WALKEEP_S3_ENDPOINT": server.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Args = []string{"walkeep", "fetch", "--repo", "s3://bucket/prefix", "000000010000000000000001", "target"}
	main()
}

func signalOf(err error) (syscall.Signal, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, fmt.Errorf("ended with %v", err)
	}
	status := exit.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return 0, fmt.Errorf("ended with %v", exit)
	}
	return status.Signal(), nil
}

// S53: PostgreSQL reads 2, Go's exit code for a panic, as "not in the archive". fetch dies of SIGABRT instead.
func TestS53PanicOfFetchAborts(t *testing.T) {
	cmd := child(t, "panic")
	output, err := cmd.CombinedOutput()
	if got, err := signalOf(err); err != nil || got != syscall.SIGABRT {
		t.Errorf("fetch: signal %v, %v, want SIGABRT", got, err)
	}
	if !strings.Contains(string(output), "on purpose") {
		t.Errorf("another panic than ours: %s", output)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd := child(t, "deaf")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for _, want := range []string{"started", "cancelled"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	// The default disposition is back a moment after the context is done: be insistent, but leave the dying
	// process the time to die.
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		io.Copy(io.Discard, stdout) //nolint:errcheck // it ends with the process
	}()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for ended := false; !ended; {
		select {
		case <-rest:
			ended = true
		case <-again.C:
			cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		}
	}
	if got, err := signalOf(cmd.Wait()); err != nil || got != syscall.SIGTERM {
		t.Errorf("signal %v, %v, want SIGTERM", got, err)
	}
}

// The exit code reaches the caller of the real process.
func TestProcessExitCode(t *testing.T) {
	for role, want := range map[string]int{"version": 0, "version --bogus": 2, "fetch --bogus": 200} {
		err := child(t, role).Run()
		got := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("walkeep %s: exit %d, want %d", role, got, want)
		}
	}
}
