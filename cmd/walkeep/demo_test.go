package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// A loss within what walkeep had shown is reported, one beyond it fails; in synchronous mode each loss does.
func TestDemoJudgesALoss(t *testing.T) {
	for name, c := range map[string]struct {
		loss              demoLoss
		async, sync       string
		asyncErr, syncErr string
	}{
		"nothing": {
			loss:  demoLoss{committed: 1234, recovered: 1234, shown: time.Second},
			async: "1,234 of 1,234 commits recovered: nothing is lost", sync: "1,234 of 1,234 commits recovered: not one is lost",
		},
		"within": {
			loss:    demoLoss{committed: 100, recovered: 90, span: 600 * time.Millisecond, shown: 700 * time.Millisecond},
			async:   "90 of 100 commits recovered, lost: the last 0.6 s (walkeep had shown 0.7 s)",
			syncErr: "10 were lost although their COMMIT had returned",
		},
		"beyond": {
			loss:     demoLoss{committed: 100, recovered: 10, span: 2 * time.Second, shown: 700 * time.Millisecond},
			asyncErr: "lost: the last 2.0 s (walkeep had shown 0.7 s): more than walkeep had shown",
			syncErr:  "90 were lost",
		},
		"one": {
			loss:    demoLoss{committed: 100, recovered: 99, span: 1, shown: time.Second},
			async:   "99 of 100 commits recovered, lost: the last 0.0 s (walkeep had shown 1.0 s)",
			syncErr: "1 were lost",
		},
	} {
		for what, judged := range map[string]struct {
			judge     func(*demoLoss) (string, error)
			text, err string
		}{"asynchronous": {(*demoLoss).asynchronous, c.async, c.asyncErr}, "synchronous": {(*demoLoss).synchronous, c.sync, c.syncErr}} {
			text, err := judged.judge(&c.loss)
			if text != judged.text || (err == nil) != (judged.err == "") || err != nil && !strings.Contains(err.Error(), judged.err) {
				t.Errorf("%s, %s: %q, %v; want %q, %q", name, what, text, err, judged.text, judged.err)
			}
		}
	}
}

// On a terminal the line of the load is drawn over and over; elsewhere it is left out.
func TestDemoScreen(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		env := testEnvironment(&out, io.Discard, nil)
		env.isTerminal = func(io.Writer) bool { return terminal }
		s := newDemoScreen(env)
		s.live("load", "%d commits", 1)
		s.alarm("disaster", "now")
		want := "  0.0 s  disaster     now\n"
		if terminal {
			want = "  0.0 s  load         1 commits\x1b[K\n\x1b[A  0.0 s  \x1b[1;31mdisaster     now\x1b[0m\x1b[K\n"
		}
		if out.String() != want {
			t.Errorf("terminal %t: %q, want %q", terminal, out.String(), want)
		}
	}
}

func TestDemoWithoutPostgreSQL(t *testing.T) {
	got := walkeep(t.Context(), nil, "demo", "--bindir", t.TempDir())
	if got.code != exitFailure || !strings.Contains(got.stderr, "there is no postgres") || !strings.Contains(got.stderr, "next: install") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}
