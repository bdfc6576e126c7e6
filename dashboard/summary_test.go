package dashboard

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Status)
		want Summary
	}{
		{"lag", nil, Summary{Good, "Protected up to 0.6 s ago", "Streaming.", "", ""}},
		{
			"idle", func(s *Status) { s.LagBytes = 0 },
			Summary{Good, "Protected up to now", "Streaming. All the server has flushed is stored.", "", ""},
		},
		{
			"lag unknown", func(s *Status) { s.LagKnown, s.LagKnownAt, s.LagBytes, s.LagSeconds = false, ago(12*time.Second), 0, 0 },
			Summary{Warn, "Protected up to 12 s ago, unknown since", "Streaming, but the server is silent.", "", ""},
		},
		{
			"lag older than the silence", func(s *Status) { s.LagKnown, s.LagKnownAt, s.LagSeconds = false, ago(12*time.Second), 40 },
			Summary{Warn, "Protected up to 40 s ago, unknown since", "Streaming, but the server is silent.", "", ""},
		},
		{"started, frontier known, server not", func(s *Status) {
			s.State, s.StateSince, s.StartedAt, s.LagKnown, s.LagKnownAt = Connecting, ago(0), ago(0), false, Time{}
		}, Summary{Warn, "Protection not known yet", "Connecting to the server.", "", ""}},
		{
			"before the first byte", func(s *Status) { s.State, s.StateSince, s.DurableLSN = Connecting, ago(0), "" },
			Summary{Warn, "Not protected yet", "Connecting to the server.", "", ""},
		},
		{
			"retrying", func(s *Status) { s.Uploads.Retrying, s.Message = 1, "Storage answers slowly." },
			Summary{Warn, "Protected up to 0.6 s ago", "Streaming, but uploads are being retried.", "", "Storage answers slowly."},
		},
		{
			"gap", func(s *Status) { s.State, s.Gaps = Gap, []GapRange{lostGap()} },
			Summary{
				Bad, "WAL is missing", "Streaming behind a gap: new WAL is stored, up to 0.6 s ago.",
				"WAL from 49/F0000000 to 4A/10000000 is missing (lost)",
				"Point-in-time recovery is impossible from 49/F0000000 until the next base backup: take one now.",
			},
		},
		{
			"fork", func(s *Status) { s.State = Fork },
			Summary{
				Bad, "Stopped at a fork", "Stopped: the server's WAL contradicts the archive. Nothing was overwritten.",
				"fork: the server's WAL contradicts the archive, nothing is being archived", "",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Summarize(streaming(test.edit))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDetailsOfUnknown(t *testing.T) {
	s := streaming(func(s *Status) {
		*s = Status{Time: At(now), State: Connecting, StartedAt: ago(0), Slot: Slot{Name: "walkeep"}}
	})
	for _, section := range Details(s) {
		if section.Title == "Positions" {
			t.Errorf("an empty section is shown: %+v", section)
		}
		for _, row := range section.Rows {
			if row.Value == "" || row.Name == "slot keeps" || row.Name == "room left" {
				t.Errorf("unknown %q is shown as %q", row.Name, row.Value)
			}
		}
	}
	if got := s.lagText(); got != "unknown" {
		t.Errorf("lag before the first contact = %q, want unknown", got)
	}
	lagging := streaming(func(s *Status) { s.LagKnown = false })
	if got, want := lagging.lagText(), "at least 79 KiB, oldest 0.6 s"; got != want {
		t.Errorf("lag with a silent server = %q, want %q", got, want)
	}
}

func TestFormatDuration(t *testing.T) {
	tests := map[time.Duration]string{
		-time.Hour:                      "0.0 s",
		640 * time.Millisecond:          "0.6 s",
		9949 * time.Millisecond:         "9.9 s",
		9950 * time.Millisecond:         "10 s",
		119 * time.Second:               "119 s",
		2 * time.Minute:                 "2 min",
		59*time.Minute + 59*time.Second: "59 min",
		3 * time.Hour:                   "3 h",
		3*time.Hour + 20*time.Minute:    "3 h 20 min",
		47 * time.Hour:                  "47 h",
		50 * time.Hour:                  "2 days",
	}
	for d, want := range tests {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}
