package replication

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walkeep/segment"
)

// TestSeriesNeverUnderstates: whatever was joined, forgotten or thinned, the age of a position and the number of commits
// behind it are never less than they are, and not much more.
func TestSeriesNeverUnderstates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			s     series
			exact []passed
			at    = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			lsn   = segment.LSN(1)
			floor segment.LSN // dropped up to here
			n     uint64
			r     = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		)
		pause := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 7 * time.Millisecond}).Draw(t, "pause")
		for range rapid.IntRange(1, 12_000).Draw(t, "marks") {
			lsn += segment.LSN(r.IntN(4))
			s.add(lsn, at, n)
			if len(exact) == 0 || lsn > exact[len(exact)-1].lsn {
				exact = append(exact, passed{lsn, at, n})
			}
			n += uint64(r.IntN(3))
			at = at.Add(pause)
			if r.IntN(1000) == 0 {
				floor = max(floor, exact[r.IntN(len(exact))].lsn)
				s.drop(floor)
			}
			if len(s.marks) > maxSeries {
				t.Fatalf("%d marks", len(s.marks))
			}
		}
		for range 50 {
			pos := max(floor, exact[r.IntN(len(exact))].lsn)
			got, ok := s.behind(pos)
			want, there := exactBehind(exact, pos)
			if ok != there {
				t.Fatalf("behind %s: %v, want %v", pos, ok, there)
			}
			if !ok {
				continue
			}
			if got.at.After(want.at) || got.commits > want.commits {
				t.Fatalf("behind %s: %v, want %v or earlier", pos, got, want)
			}
			if off := want.at.Sub(got.at); off > seriesSpacing+4*pause+at.Sub(exact[0].at)/100 {
				t.Fatalf("behind %s: %s too old", pos, off)
			}
		}
	})
}

func exactBehind(all []passed, pos segment.LSN) (passed, bool) {
	for _, m := range all {
		if m.lsn > pos {
			return m, true
		}
	}
	return passed{}, false
}

// TestCommitsAtRisk: commits are counted from the moment they are checked until their WAL is durable.
func TestCommitsAtRisk(t *testing.T) {
	p, now := newProgress(1000, &series{}), time.Now()
	step := func(lsn segment.LSN, commits int) {
		for range commits {
			p.commit(now)
		}
		p.heard(lsn, lsn, now)
		p.checked(lsn, now)
		now = now.Add(time.Second)
	}
	began := now
	step(1100, 2)
	step(1200, 0)
	step(1300, 3)
	for _, tt := range []struct {
		durable segment.LSN
		commits uint64
		oldest  time.Time
	}{
		{1000, 5, began},
		{1050, 5, began}, // of the two we know no more
		{1100, 3, began.Add(time.Second)},
		{1200, 3, began.Add(2 * time.Second)},
		{1300, 0, time.Time{}},
	} {
		if n, oldest := p.atRisk(tt.durable); n != tt.commits || !oldest.Equal(tt.oldest) {
			t.Errorf("durable up to %s: %d commits since %s, want %d since %s", tt.durable, n, oldest, tt.commits, tt.oldest)
		}
	}
}

// TestDemandOfAServerThatShutsDown: told from one that has not heard of us for long by when it asks, and where.
func TestDemandOfAServerThatShutsDown(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		exact   bool
		sent    time.Duration // ago
		timeout time.Duration
		want    bool
	}{
		{true, time.Second, time.Minute, true},
		{true, 14 * time.Second, time.Minute, true},
		{true, 30 * time.Second, time.Minute, false},
		{false, time.Second, time.Minute, false},
		{true, time.Hour, 0, true},
	} {
		p := newProgress(1000, &series{})
		p.sentAt = now.Add(-tt.sent)
		p.demand(tt.exact, tt.timeout, now)
		if holding := !p.holdSince.IsZero(); holding != tt.want || !p.demanded || len(p.wake) != 1 {
			t.Errorf("%+v: holding %v", tt, holding)
		}
	}
}
