package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walkeep/dashboard"
)

// serviceManager listens as systemd does and returns its socket; NOTIFY_SOCKET names it.
func serviceManager(t *testing.T) *net.UnixConn {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return conn
}

func nextNotice(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestNotifySystemd(t *testing.T) {
	manager := serviceManager(t)
	t.Setenv("WATCHDOG_USEC", "40000")
	var state atomic.Value
	state.Store(goodStatus())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopping := make(chan struct{})
	done := make(chan error)
	var log bytes.Buffer
	env := testEnvironment(&log, &log, nil)
	go func() {
		done <- notifySystemd(ctx, stopping, env, func() dashboard.Status { return state.Load().(dashboard.Status) })
	}()
	for _, want := range []string{"READY=1", "WATCHDOG=1", "STATUS=Protected up to 0.6 s ago. Streaming.", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := nextNotice(t, manager); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	state.Store(gapStatus())
	await(t, manager, "STATUS=WAL is missing. Unhealthy: WAL from 49/F0000000 to 4A/10000000 is missing (lost)")
	close(stopping)
	await(t, manager, "STOPPING=1")
	for range 3 { // petted until the end, which may take its time, and told once
		if got := nextNotice(t, manager); got != "WATCHDOG=1" {
			t.Errorf("while stopping: got %q, want WATCHDOG=1", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// await reads notices until want, past anything that was on its way.
func await(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	for range 1000 {
		if nextNotice(t, conn) == want {
			return
		}
	}
	t.Fatalf("%q never came", want)
}

func TestWatchdogIsNotPetByTheDead(t *testing.T) {
	manager := serviceManager(t)
	t.Setenv("WATCHDOG_USEC", "2000")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var looks atomic.Int32
	alive := func() bool { return looks.Add(1) == 1 }
	go func() {
		defer close(done)
		newNotifier(slog.New(slog.DiscardHandler)).watch(ctx, nil, alive, func() string { return "look " + string('a'+looks.Load()%26) })
	}()
	pets := 0
	for range 20 {
		if nextNotice(t, manager) == "WATCHDOG=1" {
			pets++
		}
	}
	cancel()
	<-done
	if pets != 1 {
		t.Errorf("petted %d times, want 1: alive said so once in %d", pets, looks.Load())
	}
}

func TestNotifierWithoutServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	var log bytes.Buffer
	n := newNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready()
	n.Status("fine")
	n.Stopping()
	if log.Len() != 0 {
		t.Errorf("logged %s", &log)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	n.Ready()
	n.Stopping()
	if got := strings.Count(log.String(), "service manager can't be notified"); got != 1 {
		t.Errorf("logged %d failures, want 1:\n%s", got, &log)
	}
}
