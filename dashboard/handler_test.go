package dashboard

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// get asks a handler over s and returns status code and body.
func get(t *testing.T, s Status, target string) (int, string) {
	t.Helper()
	response := request(t, s, http.MethodGet, target)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func request(t *testing.T, s Status, method, target string) *http.Response {
	t.Helper()
	handler := NewHandler(func() Status { return s }, HandlerOptions{Now: func() time.Time { return now }})
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, target, nil))
	return recorder.Result()
}

func TestHealthz(t *testing.T) {
	waiting := func(s *Status) { s.State, s.StateSince = Waiting, ago(time.Hour) }
	fork := func(s *Status) { s.State = Fork }
	tests := []struct {
		name, target string
		edit         func(*Status)
		code         int
		body         string
	}{
		{"healthy", "/healthz", nil, 200, "ok\n"},
		{"fork", "/healthz", fork, 503, "fork: the server's WAL contradicts the archive, nothing is being archived\n"},
		{"waiting", "/healthz", waiting, 503, "another process has held slot walkeep for 1 h, this receiver archives nothing\n"},
		{"waiting as a standby", "/healthz?standbyok=true", waiting, 200, "ok, waiting for the slot\n"},
		{
			"standbyok excuses nothing else", "/healthz?standbyok=true", fork, 503,
			"fork: the server's WAL contradicts the archive, nothing is being archived\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, body := get(t, streaming(test.edit), test.target)
			if code != test.code || body != test.body {
				t.Errorf("got %d %q, want %d %q", code, body, test.code, test.body)
			}
		})
	}
}

func TestServedJSON(t *testing.T) {
	code, body := get(t, streaming(func(s *Status) { s.Time, s.State = Time{}, Stopped }), "/status.json")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	for field, want := range map[string]any{
		"format": 1.0, "time": "2026-11-24T02:13:07.123456Z", "state": "stopped", "durable_lsn": "4A/1A2A0000",
		"healthy": false, "problem": "the receiver has stopped: no WAL is being archived",
	} {
		if got[field] != want {
			t.Errorf("%s = %v, want %v", field, got[field], want)
		}
	}
	if gaps, ok := got["gaps"].([]any); !ok || len(gaps) != 0 {
		t.Errorf("gaps = %v, want []", got["gaps"])
	}
}

func TestPage(t *testing.T) {
	const hostile = `<script>alert("1")</script>`
	gap := lostGap()
	gap.Reason = hostile
	code, body := get(t, streaming(func(s *Status) {
		s.Gaps, s.Message, s.LastError, s.Server.Version = []GapRange{gap}, hostile, hostile, hostile
	}), "/")
	if code != 200 {
		t.Fatalf("status %d", code)
	}
	for _, want := range []string{
		`<section class="hero bad">`, "<h1>WAL is missing</h1>", `http-equiv="refresh"`,
		"<code>49/F0000000</code> to <code>4A/10000000</code>", "4A/1A2A0000",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, never := range []string{"<script", "//cdn", `src="http`, `href="http`} {
		if strings.Contains(body, never) {
			t.Errorf("page contains %q", never)
		}
	}
	if code, _ := get(t, streaming(nil), "/nothing"); code != 404 {
		t.Errorf("/nothing: status %d, want 404", code)
	}
}

func TestHeaders(t *testing.T) {
	for _, target := range []string{"/", "/style.css", "/status.json", "/healthz", "/metrics", "/nothing"} {
		header := request(t, streaming(nil), http.MethodGet, target).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		} {
			if header.Get(name) != want {
				t.Errorf("%s: %s = %q, want %q", target, name, header.Get(name), want)
			}
		}
		if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
			t.Errorf("%s: Content-Security-Policy %q", target, policy)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, target := range []string{"/", "/style.css", "/status.json", "/healthz", "/metrics"} {
		for method, want := range map[string]int{
			http.MethodGet: 200, http.MethodHead: 200, http.MethodPost: 405, http.MethodDelete: 405, http.MethodOptions: 405,
		} {
			if got := request(t, streaming(nil), method, target).StatusCode; got != want {
				t.Errorf("%s %s: status %d, want %d", method, target, got, want)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	code, body := get(t, streaming(func(s *Status) { s.Slot.SafeWALSize, s.AckedLSN = nil, "" }), "/metrics")
	if code != 200 {
		t.Fatalf("status %d: %s", code, body)
	}
	lines := strings.Split(body, "\n")
	has := func(want string) bool {
		for _, l := range lines {
			if l == want {
				return true
			}
		}
		return false
	}
	for _, want := range []string{
		"walkeep_healthy 1", "walkeep_lag_bytes 80960", "walkeep_lag_seconds 0.6", "walkeep_lag_known 1",
		"walkeep_gaps 0", `walkeep_state{state="streaming"} 1`, `walkeep_state{state="fork"} 0`,
		"walkeep_segments_uploaded_total 18234", "walkeep_links_uploaded_total 90211", "walkeep_upload_retries_total 88",
		"walkeep_reconnects_total 3", "walkeep_buffers 8", "walkeep_buffers_free 6", "walkeep_unchecked_bytes_total 0",
		"walkeep_durable_lsn_bytes 3.18266540032e+11", "walkeep_slot_retained_bytes 2.097152e+06",
		"walkeep_last_commit_timestamp_seconds 1.795486386923456e+09",
	} {
		if !has(want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	for _, never := range []string{"walkeep_slot_safe_wal_bytes ", "walkeep_acked_lsn_bytes "} {
		if strings.Contains(body, "\n"+never) {
			t.Errorf("metrics show the unknown %s", never)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: names and help texts not linted")
		return
	}
	lint := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	lint.Stdin = strings.NewReader(body)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
