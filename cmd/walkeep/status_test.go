package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"walkeep/dashboard"
)

// receiverAt serves what a receiver in status s serves, and returns its URL.
func receiverAt(t *testing.T, s dashboard.Status) string {
	t.Helper()
	server := httptest.NewServer(dashboard.NewHandler(func() dashboard.Status { return s }, dashboard.HandlerOptions{}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

func goodStatus() dashboard.Status {
	now := dashboard.At(time.Date(2026, 11, 24, 2, 13, 7, 0, time.UTC))
	return dashboard.Status{
		Time: now, State: dashboard.Streaming, StateSince: now, StartedAt: now, LagKnown: true, LagKnownAt: now,
		LagSeconds: 0.6, LagBytes: 80960, DurableLSN: "4A/1A2A0000", SystemID: "7301234567890123456",
		Server: dashboard.Server{Host: "db1", Port: 5432, Version: "16.14"}, Repo: "s3://acme/prod",
		Slot: dashboard.Slot{Name: "walkeep", Active: true},
	}
}

func gapStatus() dashboard.Status {
	s := goodStatus()
	s.State = dashboard.Gap
	s.Gaps = []dashboard.GapRange{{
		Lineage: "00000003-5f3a91c0", From: "49/F0000000", To: "4A/10000000", Kind: "lost",
		Reason: "removed \x1b[31mby\nthe server", DetectedAt: s.Time,
	}}
	return s
}

func TestStatusGood(t *testing.T) {
	got := walkeep(t.Context(), nil, "status", "--url", receiverAt(t, goodStatus()))
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("exit %d, %s", got.code, got.stderr)
	}
	want := "Protected up to 0.6 s ago" + strings.Repeat(" ", 80-25-8) + "db1:5432\nStreaming.\n\n" +
		"Lag          not yet stored     79 KiB, oldest 0.6 s\n"
	if !strings.HasPrefix(got.stdout, want) {
		t.Errorf("got\n%s\nwant\n%s...", got.stdout, want)
	}
}

func TestStatusBad(t *testing.T) {
	target := receiverAt(t, gapStatus())
	got := walkeep(t.Context(), []string{"WALKEEP_URL=" + strings.TrimPrefix(target, "http://")}, "status")
	if got.code != exitFailure || got.stderr != "" {
		t.Fatalf("exit %d, stderr %q, want 1 and nothing", got.code, got.stderr)
	}
	for _, want := range []string{
		"WAL is missing", "UNHEALTHY: WAL from 49/F0000000 to 4A/10000000 is missing (lost)\n",
		"GAP (lost): 49/F0000000 to 4A/10000000 of 00000003-5f3a91c0: removed [31mby the\nserver\n", "take one now.",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("screen lacks %q:\n%s", want, got.stdout)
		}
	}
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(got.stdout, "\x1b") {
		t.Error("an escape sequence reached the terminal")
	}
}

func TestStatusJSON(t *testing.T) {
	got := walkeep(t.Context(), nil, "status", "--json", "--url", receiverAt(t, gapStatus())+"/")
	var s struct {
		State   string `json:"state"`
		Healthy bool   `json:"healthy"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil || s.State != "gap" || s.Healthy || got.code != exitFailure {
		t.Errorf("exit %d, %+v, %v:\n%s", got.code, s, err, got.stdout)
	}
}

// What answers but isn't a receiver of ours is never taken for a healthy one.
func TestStatusOfSomethingElse(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{}`, "holds no receiver's status"},
		{`{"format":1,"state":"streaming"}`, "holds no receiver's status"},
		{`{"format":2,"healthy":true}`, "of a newer walkeep"},
		{`<html>`, "invalid character"},
		{`{"format":1,"healthy":true,"lag_bytes":"many"}`, "cannot unmarshal"},
		{``, "unexpected end of JSON"},
		{`404`, "answers 404 Not Found"},
	}
	for _, test := range tests {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.body == "404" {
				w.WriteHeader(http.StatusNotFound)
			}
			w.Write([]byte(test.body)) //nolint:errcheck // the test sees what came
		}))
		got := walkeep(t.Context(), nil, "status", "--url", server.URL)
		if got.code != exitFailure || !strings.Contains(got.stderr, test.want) || !strings.Contains(got.stderr, "next: ") {
			t.Errorf("%q: exit %d, %q, want 1, ...%s...", test.body, got.code, got.stderr, test.want)
		}
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	}
}

func TestStatusUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	got := walkeep(t.Context(), nil, "status", "--url", server.URL)
	if got.code != exitFailure || !strings.Contains(got.stderr, "connection refused\n  next: start walkeep receive") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}

// lineWriter hands each write to a channel.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// A receiver that goes away while it is watched is shown as away, and seen again when it is back; the last
// look makes the exit code.
func TestStatusWatch(t *testing.T) {
	type look struct {
		handler http.Handler
		want    string
	}
	handler := func(s dashboard.Status) http.Handler {
		return dashboard.NewHandler(func() dashboard.Status { return s }, dashboard.HandlerOptions{})
	}
	good := look{handler(goodStatus()), "2026-11-24T02:13:07Z  streaming  Protected up to 0.6 s ago\n"}
	gap := look{
		handler(gapStatus()),
		"  gap  WAL is missing, unhealthy: WAL from 49/F0000000 to 4A/10000000 is missing (lost)\n",
	}
	away := look{http.NotFoundHandler(), "answers 404 Not Found\n"}
	for _, test := range []struct {
		looks []look
		code  exitCode
	}{
		{[]look{good, away, gap}, exitFailure},
		{[]look{gap, good}, exitOK},
		{[]look{good, away}, exitFailure},
	} {
		watch := startWatch(t)
		for _, l := range test.looks {
			watch.answers <- l.handler
			if got := <-watch.stdout; !strings.HasSuffix(got, l.want) {
				t.Errorf("got %q, want ...%q", got, l.want)
			}
		}
		if got := watch.stop(); got != test.code {
			t.Errorf("exit %d, want %d", got, test.code)
		}
	}
}

// A watching is a running "status --watch" whose receiver's answers the test gives one by one.
type watching struct {
	answers chan http.Handler
	stdout  lineWriter
	stop    func() exitCode
}

func startWatch(t *testing.T) watching {
	w := watching{answers: make(chan http.Handler, 1), stdout: make(lineWriter)}
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case h := <-w.answers:
			h.ServeHTTP(rw, r)
		case <-ctx.Done():
		}
	}))
	env := testEnvironment(w.stdout, io.Discard, nil)
	code := make(chan exitCode, 1)
	go func() { code <- run(ctx, env, []string{"status", "--watch", "--url", server.URL}) }()
	w.stop = func() exitCode {
		cancel()
		defer server.Close()
		defer http.DefaultClient.CloseIdleConnections()
		return <-code
	}
	return w
}

func TestRedrawKeepsTheHeadline(t *testing.T) {
	const want = "\x1b[Hheadline\x1b[K\ntwo\x1b[K\n\x1b[J"
	if got := redraw("headline\ntwo\nthree\n", 3); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := redraw("headline\ntwo\n", 24); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	tests := []struct {
		text  string
		width int
		want  string
	}{
		{"", 5, ""},
		{"short", 5, "short"},
		{"two words", 5, "two|words"},
		{"abcdefghij", 4, "abcd|efgh|ij"},
		{"ab cdefgh", 4, "ab|cdef|gh"},
		{"äöü äöü", 3, "äöü|äöü"},
	}
	for _, test := range tests {
		if got := strings.Join(wrap(test.text, test.width), "|"); got != test.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}
