package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// quick is a policy that waits for nothing.
var quick = storage.RetryPolicy{MinDelay: time.Microsecond, MaxDelay: time.Millisecond, PermanentDelay: time.Millisecond}

func TestS29IgnoredConditionIsFound(t *testing.T) {
	f := newFake(t)
	f.ignoreCondition = true
	s := storage.Retry(newStore(t, f.config()), quick)
	data := []byte("identity")
	if err := s.Put(t.Context(), "cluster/1.json", data); err != nil {
		t.Fatal(err)
	}
	err := storage.ProbeCreateOnly(t.Context(), s, "cluster/1.json", data)
	if !errors.Is(err, storage.ErrNoConditionalWrites) || !strings.Contains(err.Error(), "--single-writer") {
		t.Errorf("probe: %v", err)
	}
}

func TestS29NotImplementedIsFound(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		fail(w, http.StatusNotImplemented, "NotImplemented")
		return true
	}
	plain := newStore(t, f.config())
	s := storage.Retry(plain, quick)
	if err := s.Put(t.Context(), "a", nil); !errors.Is(err, storage.ErrNoConditionalWrites) {
		t.Errorf("Put: %v", err)
	}
	if n := f.count(); n != 1 {
		t.Errorf("%d requests: 501 is an answer", n)
	}
	single, err := storage.SingleWriter(plain)
	if err != nil {
		t.Fatal(err)
	}
	s = storage.Retry(single, quick)
	if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
		t.Errorf("Put of the single writer: %v", err)
	}
	if err := s.Put(t.Context(), "a", []byte("y")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Put of the single writer again: %v", err)
	}
	if got, err := s.Get(t.Context(), "a", nil); err != nil || string(got) != "x" {
		t.Errorf("Get: %q, %v", got, err)
	}
}

func TestS29ConflictIsTriedAgain(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n < 3 {
			fail(w, http.StatusConflict, "ConditionalRequestConflict")
		}
		return n < 3
	}
	if err := storage.Retry(newStore(t, f.config()), quick).Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
	if n := f.count(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestS30LostAnswer(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 0 {
			f.serve(httpDiscard{}, r)
			reset(w)
		}
		return n == 0
	}
	s := storage.Retry(newStore(t, f.config()), quick)
	data := bytes.Repeat([]byte("x"), 1<<20)
	if err := s.Put(t.Context(), "a", data); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Put: %v, want ErrExists", err)
	}
	if got, err := s.Get(t.Context(), "a", nil); err != nil || !bytes.Equal(got, data) {
		t.Errorf("Get: %d bytes, %v", len(got), err)
	}
}

// httpDiscard is the answer that nobody gets.
type httpDiscard struct{}

func (httpDiscard) Header() http.Header         { return http.Header{} }
func (httpDiscard) Write(p []byte) (int, error) { return len(p), nil }
func (httpDiscard) WriteHeader(int)             {}

// Overload and resets, one request in five: everything gets there.
func TestS31BadWeather(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch n % 10 {
		case 3:
			fail(w, http.StatusServiceUnavailable, "SlowDown")
		case 7:
			reset(w)
		default:
			return false
		}
		return true
	}
	s := storage.Retry(newStore(t, f.config()), quick)
	for i := range 100 {
		key := fmt.Sprintf("k/%d", i)
		if err := s.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatalf("Put: %v", err)
		}
		if got, err := s.Get(t.Context(), key, nil); err != nil || string(got) != key {
			t.Fatalf("Get: %q, %v", got, err)
		}
	}
}

// The SDK has a quota for retries, 500 tokens at 5 or 10 each; an outage must not run into it.
func TestS32RetryQuotaIsNoLimit(t *testing.T) {
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusRequestTimeout, http.StatusTooManyRequests, 500} {
		f := newFake(t)
		f.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n < 300 {
				fail(w, status, "")
			}
			return n < 300
		}
		attempts := 0
		policy := quick
		policy.Observe = func(_, _ string, attempt int, err error) { attempts = attempt }
		if err := storage.Retry(newStore(t, f.config()), policy).Put(t.Context(), "a", nil); err != nil {
			t.Error(err)
		}
		if n := f.count(); n != 301 || attempts != 300 {
			t.Errorf("status %d: %d requests, %d attempts observed; want 301 and 300", status, n, attempts)
		}
	}
}

// blackHole accepts connections and reads nothing.
func blackHole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

func calls(s storage.Store, data []byte) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Put":        func(ctx context.Context) error { return s.Put(ctx, "a", data) },
		"Get":        func(ctx context.Context) error { _, err := s.Get(ctx, "a", nil); return err },
		"Delete":     func(ctx context.Context) error { return s.Delete(ctx, "a") },
		"DeleteMany": func(ctx context.Context) error { return s.Delete(ctx, make2500()...) },
		"List": func(ctx context.Context) (last error) {
			for _, err := range s.List(ctx, "", "") {
				last = err
			}
			return last
		},
	}
}

func make2500() []string {
	keys := make([]string, 2500)
	for i := range keys {
		keys[i] = fmt.Sprintf("m/%d", i)
	}
	return keys
}

func TestS33BlackHole(t *testing.T) {
	s := newStore(t, Config{
		Bucket: "bucket", Endpoint: blackHole(t), Credentials: static("a", "b"), Timeout: 200 * time.Millisecond,
	})
	for name, call := range calls(s, make([]byte, 32<<20)) {
		start := time.Now()
		err := call(t.Context())
		if err == nil || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if name != "Delete" && name != "DeleteMany" && !strings.Contains(err.Error(), "silent for") {
			t.Errorf("%s: the error doesn't say so: %v", name, err)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// Looking for credentials is part of the call: metadata services have black holes too.
func TestS33BlackHoleCredentials(t *testing.T) {
	f := newFake(t)
	cfg := f.config()
	cfg.Timeout = 100 * time.Millisecond
	hang := make(hangingCredentials)
	t.Cleanup(func() { close(hang) })
	cfg.Credentials = hang
	s := newStore(t, cfg)
	for name, call := range calls(s, nil) {
		start := time.Now()
		if err := call(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// The same through the SDK's own chain, to a container's metadata service that is a black hole; and when it
// works again, so do we.
func TestS33BlackHoleMetadata(t *testing.T) {
	newRotation(t, nil)
	if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var hole atomic.Bool
	hole.Store(true)
	metadata := newFake(t)
	metadata.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if hole.Load() {
			<-r.Context().Done()
			return true
		}
		_, _ = io.WriteString(w, `{"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": "2099-01-01T00:00:00Z"}`)
		return true
	}
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.URL+"/credentials")
	f := newFake(t)
	s := newStore(t, Config{Bucket: "bucket", Endpoint: f.URL, Timeout: 100 * time.Millisecond})
	start := time.Now()
	if err := s.Put(t.Context(), "a", nil); err == nil {
		t.Error("no error")
	}
	if took := time.Since(start); took > soon {
		t.Errorf("took %s", took)
	}
	hole.Store(false)
	if err := storage.Retry(s, quick).Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
}

// A server that was fine and stops in the middle of everything: the real one, paused.
func TestS33PausedServer(t *testing.T) {
	g := storagetest.StartGateway(t)
	cfg := gatewayConfig(g)
	cfg.Timeout = 300 * time.Millisecond
	s := newStore(t, cfg)
	data := make([]byte, 8<<20)
	if err := s.Put(t.Context(), "k", data); err != nil {
		t.Fatal(err)
	}
	g.Pause()
	for name, call := range calls(s, data) {
		start := time.Now()
		if err := call(t.Context()); err == nil || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s took %s", name, took)
		}
	}
	g.Resume()
	if got, err := storage.Retry(s, quick).Get(t.Context(), "k", nil); err != nil || len(got) != len(data) {
		t.Errorf("Get when it is back: %d bytes, %v", len(got), err)
	}
}

// The server stops in the middle of a body: noticed. It is merely slow: not cut off.
func TestS33StallWithinBody(t *testing.T) {
	f := newFake(t)
	size := 64 << 10
	var stall atomic.Bool
	f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		for i := range 8 {
			if stall.Load() && i == 4 {
				<-r.Context().Done()
				return true
			}
			_, _ = w.Write(make([]byte, size/8))
			w.(http.Flusher).Flush()
			timer := time.NewTimer(60 * time.Millisecond)
			<-timer.C
		}
		return true
	}
	cfg := f.config()
	cfg.Timeout = 300 * time.Millisecond
	s := newStore(t, cfg)
	if got, err := s.Get(t.Context(), "a", nil); err != nil || len(got) != size {
		t.Errorf("slow: %d bytes, %v", len(got), err)
	}
	stall.Store(true)
	dst := []byte("dst")
	got, err := s.Get(t.Context(), "a", dst)
	if err == nil || !strings.Contains(err.Error(), "silent for") || string(got) != "dst" {
		t.Errorf("stalled: %q, %v", got, err)
	}
}

func TestS35NoDeletePermission(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		switch {
		case r.Method == http.MethodDelete:
			fail(w, http.StatusForbidden, "AccessDenied")
		case r.Method == http.MethodPost:
			if r.Header.Get("Content-Md5") == "" {
				t.Error("DeleteObjects without Content-MD5")
			}
			_, _ = io.WriteString(w, `<DeleteResult><Error><Key>p/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>`+
				`<Error><Key>p/c</Key><Code>NoSuchKey</Code></Error><Error><Key>p/d</Key><Code>InternalError</Code></Error></DeleteResult>`)
		default:
			return false
		}
		return true
	}
	cfg := f.config()
	cfg.Prefix = "p"
	s := newStore(t, cfg)
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("one: %v", err)
	}
	var failed *storage.DeleteError
	err := s.Delete(t.Context(), "a", "b", "c", "d")
	if !errors.As(err, &failed) || len(failed.Failed) != 2 ||
		!errors.Is(failed.Failed["b"], storage.ErrDenied) || storage.IsPermanent(failed.Failed["d"]) || failed.Failed["d"] == nil {
		t.Errorf("batch: %v", err)
	}
	if err := storage.Retry(s, quick).Put(t.Context(), "a", nil); err != nil {
		t.Errorf("the archive works all the same: %v", err)
	}
}

// The store's clock is 20 minutes off. The error says so; the next request is signed with its time.
func TestS36ClockSkew(t *testing.T) {
	named := regexp.MustCompile(`the clock of this host is (19m5\ds behind|20m\ds behind|19m5\ds ahead of|20m\ds ahead of) the store's`)
	for _, skew := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		f := newFake(t)
		f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			now := time.Now().Add(skew)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err == nil && now.Sub(signed).Abs() < 15*time.Minute {
				return false
			}
			fail(w, http.StatusForbidden, "RequestTimeTooSkewed")
			return true
		}
		s := newStore(t, f.config())
		err := s.Put(t.Context(), "a", nil)
		if err == nil || !named.MatchString(err.Error()) {
			t.Errorf("skew %s: %v", skew, err)
		}
		if errors.Is(err, storage.ErrDenied) || storage.IsPermanent(err) {
			t.Errorf("skew %s is taken for something else: %v", skew, err)
		}
		if got := s.ClockSkew(); (got - skew).Abs() > 5*time.Second {
			t.Errorf("measured %s, want %s", got, skew)
		}
		if err := s.Put(t.Context(), "a", nil); err != nil {
			t.Errorf("skew %s: the next request: %v", skew, err)
		}
	}
}
