package dashboard

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHealth(t *testing.T) {
	stalled := func(d time.Duration) func(*Status) {
		return func(s *Status) {
			s.Uploads.Retrying, s.Uploads.StalledSince, s.Uploads.LastError = 2, ago(d), "connection refused"
		}
	}
	inState := func(state State, d time.Duration) func(*Status) {
		return func(s *Status) { s.State, s.StateSince = state, ago(d) }
	}
	silent := func(state State, d time.Duration, limit float64) func(*Status) {
		return func(s *Status) {
			s.State, s.StateSince, s.LagKnown, s.LagKnownAt, s.SilenceLimit = state, ago(time.Second), false, ago(d), limit
		}
	}
	tests := []struct {
		name string
		edit func(*Status)
		want string
	}{
		{"streaming", nil, ""},
		{"S07 idle for hours", func(s *Status) {
			s.LagBytes, s.LagSeconds, s.LastCommitTime = 0, 0, ago(9*time.Hour)
		}, ""},
		{"connecting briefly", inState(Connecting, 59*time.Second), ""},
		{"connecting for long", func(s *Status) {
			inState(Connecting, 61*time.Second)(s)
			s.LastError = "dial tcp: timeout"
		}, "no connection to the server for 61 s: dial tcp: timeout"},
		{"just started, server never heard of", func(s *Status) {
			*s = Status{Time: At(now), State: Connecting, StartedAt: ago(3 * time.Second), StateSince: ago(3 * time.Second)}
		}, ""},
		{"never connected since the start", func(s *Status) {
			*s = Status{Time: At(now), State: Connecting, StartedAt: ago(40 * time.Second), StateSince: ago(3 * time.Second)}
		}, "no connection to the server for 40 s: reason unknown"},
		{"S62 server silent within the limit", silent(Streaming, 29*time.Second, 30), ""},
		{
			"S62 server silent", silent(Streaming, 30*time.Second, 30),
			"the server has not been heard of for 30 s, the lag is unknown",
		},
		{
			"S62 short wal_sender_timeout", silent(Streaming, 3*time.Second, 2.5),
			"the server has not been heard of for 3.0 s, the lag is unknown",
		},
		{
			"S62 hanging up does not turn it green", silent(Connecting, 31*time.Second, 30),
			"no connection to the server for 31 s: reason unknown",
		},
		{
			"silence limit unknown", silent(Streaming, 31*time.Second, 0),
			"the server has not been heard of for 31 s, the lag is unknown",
		},
		{"uploads stalled for a moment", stalled(60 * time.Second), ""},
		{"uploads stalled", stalled(61 * time.Second), "storage has not taken an upload for 61 s: connection refused"},
		{"throttled, uploads move", inState(Throttled, 5*time.Minute), ""},
		{"waiting briefly", inState(Waiting, 59*time.Second), ""},
		{"waiting", func(s *Status) {
			silent(Waiting, 2*time.Hour, 30)(s)
			s.StateSince = ago(2 * time.Hour)
		}, "another process has held slot walkeep for 2 h, this receiver archives nothing"},
		{
			"gap", func(s *Status) { s.State, s.Gaps = Gap, []GapRange{lostGap()} },
			"WAL from 49/F0000000 to 4A/10000000 is missing (lost)",
		},
		{
			"gap while streaming", func(s *Status) { s.Gaps = []GapRange{lostGap()} },
			"WAL from 49/F0000000 to 4A/10000000 is missing (lost)",
		},
		{"gap without its range", inState(Gap, 0), "WAL is missing"},
		{"gap acknowledged", func(s *Status) {
			known := lostGap()
			known.Acknowledged = true
			s.Gaps = []GapRange{known}
		}, ""},
		{"second gap not acknowledged", func(s *Status) {
			known := lostGap()
			known.Acknowledged = true
			s.Gaps = []GapRange{known, {From: "5/0", To: "5/1000000", Kind: "damaged"}}
		}, "WAL from 5/0 to 5/1000000 is missing (damaged)"},
		{"fork", inState(Fork, 0), "fork: the server's WAL contradicts the archive, nothing is being archived"},
		{"stopped", inState(Stopped, 0), "the receiver has stopped: no WAL is being archived"},
		{"a state of the future", inState("dreaming", 0), `unknown state "dreaming"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := streaming(test.edit).Health(); got != test.want {
				t.Errorf("Health() = %q, want %q", got, test.want)
			}
		})
	}
}

// What isn't known, missing or stopped is never shown as good, whatever else a snapshot says.
func TestGoodMeansGood(t *testing.T) {
	duration := rapid.Int64Range(0, int64(3*time.Minute))
	rapid.Check(t, func(t *rapid.T) {
		at := func(name string) Time { return ago(time.Duration(duration.Draw(t, name))) }
		s := streaming(func(s *Status) {
			s.State = rapid.SampledFrom(append(States(), "")).Draw(t, "state")
			s.StateSince = at("state_since")
			s.LagKnown = rapid.Bool().Draw(t, "lag_known")
			s.LagKnownAt = at("lag_known_at")
			s.Uploads.Retrying = rapid.IntRange(0, 1).Draw(t, "retrying")
			if s.Uploads.Retrying > 0 {
				s.Uploads.StalledSince = at("stalled_since")
			}
			for range rapid.IntRange(0, 2).Draw(t, "gaps") {
				g := lostGap()
				g.Acknowledged = rapid.Bool().Draw(t, "acknowledged")
				s.Gaps = append(s.Gaps, g)
			}
		})
		level := Summarize(s).Level
		if bad := s.Health() != ""; bad != (level == Bad) {
			t.Fatalf("level %s with health %q", level, s.Health())
		}
		if level == Good && (s.State != Streaming || !s.LagKnown || s.Uploads.Retrying > 0 || len(s.openGaps()) > 0) {
			t.Fatalf("shown as good: %+v", s)
		}
	})
}

// TestS19SlotRoom: an alert comes an hour before the slot is lost, when WAL gathers in it, and not for a small limit alone.
func TestS19SlotRoom(t *testing.T) {
	room := func(seconds float64) *float64 { return &seconds }
	now := At(time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		state    State
		lag      int64
		seconds  *float64
		unwanted bool
	}{
		"plenty":                  {Throttled, 1 << 30, room(7200), false},
		"unlimited":               {Throttled, 1 << 30, nil, false},
		"small limit, no lag":     {Streaming, 1 << 20, room(600), false},
		"gathers while streaming": {Streaming, 1 << 30, room(600), true},
		"gathers, throttled":      {Throttled, 0, room(600), true},
	} {
		s := Status{
			Time: now, State: c.state, StateSince: now, StartedAt: now, LagKnown: true, LagKnownAt: now,
			LagBytes: c.lag, Slot: Slot{SafeSeconds: c.seconds},
		}
		if got := s.Health(); strings.Contains(got, "max_slot_wal_keep_size") != c.unwanted {
			t.Errorf("%s: health %q", name, got)
		}
	}
}
