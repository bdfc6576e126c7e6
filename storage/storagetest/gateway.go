package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The root user and the bucket of every Gateway.
const (
	GatewayAccess = "test"
	GatewaySecret = "testsecret"
	GatewayBucket = "walkeep"
)

// A Gateway is a real S3 server, versitygw, in a process of its own, on a loopback port. It keeps its port
// and its directories when it is stopped and started again.
type Gateway struct {
	Endpoint string // "http://127.0.0.1:PORT"
	Access   string
	Secret   string
	Bucket   string
	Dir      string // holds buckets/, versions/ and iam/

	t    testing.TB
	addr string
	args []string // before "posix"

	mu  sync.Mutex
	cmd *exec.Cmd
	log *lockedBuffer
}

// StartGateway starts an S3 server with an empty bucket; it ends with the test. The binary is
// $WALKEEP_VERSITYGW, or .cache/versitygw in the module's root. More arguments go before the backend's:
// "--iam-dir", dir.
func StartGateway(t testing.TB, args ...string) *Gateway {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Join("buckets", GatewayBucket), "versions", "iam"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g := &Gateway{
		Access: GatewayAccess, Secret: GatewaySecret, Bucket: GatewayBucket,
		Dir: dir, t: t, args: args, log: &lockedBuffer{},
	}
	g.addr = freeAddr(t)
	g.Endpoint = "http://" + g.addr
	g.Start()
	t.Cleanup(g.Stop)
	return g
}

// freeAddr is a loopback address nobody listens on at the moment.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts the server again after Stop or Kill, and returns when it answers.
func (g *Gateway) Start() {
	g.t.Helper()
	args := append([]string{
		"--port", g.addr, "--access", g.Access, "--secret", g.Secret,
		"--keep-alive", "--quiet", "--health", "/health",
	}, g.args...)
	args = append(args, "posix", "--versioning-dir", filepath.Join(g.Dir, "versions"), filepath.Join(g.Dir, "buckets"))
	cmd := exec.Command(GatewayBinary(g.t), args...)
	cmd.Dir = g.Dir
	cmd.Stdout, cmd.Stderr = g.log, g.log
	// The server must not outlive a test binary that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		g.t.Fatalf("start versitygw: %v", err)
	}
	g.mu.Lock()
	g.cmd = cmd
	g.mu.Unlock()
	if err := g.await(30 * time.Second); err != nil {
		g.Kill()
		g.t.Fatalf("versitygw doesn't answer: %v\n%s", err, g.log)
	}
}

func (g *Gateway) await(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.Endpoint+"/health", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// Stop ends the server; calls under way are cut off after a moment.
func (g *Gateway) Stop() { g.end(syscall.SIGTERM) }

// Kill ends the server without giving it a chance to finish anything.
func (g *Gateway) Kill() { g.end(syscall.SIGKILL) }

// Pause makes the server a black hole: connections are still accepted by the kernel, and nothing is answered.
func (g *Gateway) Pause() { g.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (g *Gateway) Resume() { g.signal(syscall.SIGCONT) }

func (g *Gateway) signal(sig os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		_ = g.cmd.Process.Signal(sig)
	}
}

func (g *Gateway) end(sig os.Signal) {
	g.mu.Lock()
	cmd := g.cmd
	g.cmd = nil
	g.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(sig)
	// One that waits for its connections to close has had its chance.
	timer := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

// Log is what the server has printed so far.
func (g *Gateway) Log() string { return g.log.String() }

// GatewayBinary is the path of the server, which is its own admin tool too.
func GatewayBinary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("WALKEEP_VERSITYGW")
	if path == "" {
		path = filepath.Join(moduleRoot(t), ".cache", "versitygw")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no S3 server to test with (%v): run make deps", err)
	}
	return path
}

// moduleRoot is the folder above the working directory that holds go.mod.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// A lockedBuffer may be read while a process writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
