package failover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/postgres"
	"walkeep/segment"
)

// on runs a test on several versions.
func on(t *testing.T, majors []int, test func(t *testing.T, major int)) {
	t.Parallel()
	for _, m := range majors {
		t.Run(fmt.Sprint(m), func(t *testing.T) { test(t, m) })
	}
}

// some are Debian's version and, under make matrix, every other one; beside is the one that a plain run adds, if it is another.
func some(beside int) []int {
	switch all := postgres.Matrix(); {
	case testing.Short(), beside == 15 && len(all) < len(postgres.Majors):
		return []int{15}
	case len(all) == len(postgres.Majors):
		return all
	}
	return []int{15, beside}
}

// TestS20Switchover stops the primary in order and promotes the standby: nothing is lost, and nothing waits for long.
func TestS20Switchover(t *testing.T) {
	on(t, some(18), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		standby := s.first.Standby(t, "", postgres.Options{})
		r := s.streaming()
		s.write(s.first, 1, 100, 2500)
		took, err := s.first.Stop(postgres.Fast)
		must(t, err)
		if took > 15*time.Second {
			t.Errorf("the primary took %s to stop", took)
		}
		must(t, standby.Promote(s.ctx))
		s.move(standby)
		s.write(standby, 101, 200, 1500)
		s.archived(standby)

		l, fork := s.lineage(standby)
		old := segment.Lineage{Timeline: 1}
		if end := s.branches()[old].Frontier; end != fork {
			t.Errorf("timeline 1 is archived up to %s, it ended at %s", end, fork)
		}
		s.endsLike(old, fork, s.first)
		s.historyFirst(l)
		if n := s.equal(standby); n < 5 {
			t.Errorf("only %d files were compared", n)
		}
		s.noAlarm(r)
	})
}

// TestS21SwitchAtSegmentBoundary promotes a standby that has received exactly a whole segment: the new timeline begins
// where the next segment of the old one would have.
func TestS21SwitchAtSegmentBoundary(t *testing.T) {
	for _, when := range []string{"before", "attached"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, postgres.Options{})
			link := fault.Start(t, s.first.Addr())
			standby := s.first.Standby(t, link.Addr(), postgres.Options{})
			if when == "attached" {
				s.address.SetTarget(standby.Addr()) // the stream itself ends at the boundary
			}
			r := s.streaming()
			s.write(s.first, 1, 100, 100)
			end, err := s.first.SwitchWAL(s.ctx)
			must(t, err)
			boundary := s.catalog().SegmentSize().Start(end-1) + segment.LSN(s.catalog().SegmentSize())
			must(t, standby.WaitReplay(s.ctx, boundary))
			must(t, r.WaitDurable(s.ctx, boundary))
			link.Down()
			must(t, s.first.Kill9())
			must(t, standby.Promote(s.ctx))
			l, fork := s.lineage(standby)
			if fork != boundary {
				t.Fatalf("the timeline forked at %s, not at the boundary %s: the test proves nothing", fork, boundary)
			}
			s.address.SetTarget(standby.Addr())
			s.write(standby, 101, 200, 1500)
			s.archived(standby)
			if b := s.branches()[l]; b.Begin != boundary {
				t.Errorf("timeline 2 is archived from %s, want %s", b.Begin, boundary)
			}
			s.equal(standby)
			s.noAlarm(r)
		})
	}
}

// TestS22PromotionsWhileDown lets the cluster pass through timelines while no receiver runs: each is archived.
func TestS22PromotionsWhileDown(t *testing.T) {
	on(t, some(13), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		r := s.streaming()
		s.write(s.first, 1, 10, 100)
		s.archived(s.first)
		_, err := r.Term()
		must(t, err)
		for tl := 2; tl <= 3; tl++ {
			s.promoteInPlace(s.first)
			s.write(s.first, 10*tl, 10*tl+9, 600*tl)
		}
		s.skipTo(5)
		s.write(s.first, 100, 109, 1500)
		// A server need not have its ancestors' histories: its own has all that was in them.
		lost := filepath.Join(s.first.DataDir(), "pg_wal", "00000002.history")
		kept, err := os.ReadFile(lost)
		must(t, err)
		must(t, os.Remove(lost))
		r = s.streaming()
		must(t, os.WriteFile(lost, kept, 0o600))
		must(t, own(lost))
		s.archived(s.first)

		branches := s.branches()
		_, forks := s.history(s.first, 5)
		if len(forks) != 3 || len(branches) != 4 {
			t.Errorf("timeline 5 has ancestors %v, archived are %v", forks, branches)
		}
		for i, f := range forks {
			l, _ := s.history(s.first, f.Timeline)
			if branches[l].Frontier != f.Switch {
				t.Errorf("timeline %d ended at %s, it is archived up to %s", f.Timeline, f.Switch, branches[l].Frontier)
			}
			if i > 0 {
				s.historyFirst(l)
			}
		}
		s.equal(s.first)
		s.noAlarm(r)
	})
}

// skipTo promotes the site's server to a timeline beyond the next one: files of histories that it has seen, of promotions
// that came to nothing, make it (access/transam/timeline.c: findNewestTimeLine).
func (s *site) skipTo(timeline segment.Timeline) {
	s.t.Helper()
	for tl := s.timeline(s.first) + 1; tl < timeline; tl++ {
		path := filepath.Join(s.first.DataDir(), "pg_wal", tl.HistoryName())
		must(s.t, os.WriteFile(path, []byte("1\t0/100\tno recovery target specified\n"), 0o600))
		must(s.t, own(path))
	}
	s.promoteInPlace(s.first)
	if got := s.timeline(s.first); got != timeline {
		s.t.Fatalf("the server is on timeline %d, want %d", got, timeline)
	}
}

// TestS25StandbyPromotedUnderUs streams from a standby that becomes the primary.
func TestS25StandbyPromotedUnderUs(t *testing.T) {
	on(t, some(15), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		standby := s.first.Standby(t, "", postgres.Options{})
		s.address.SetTarget(standby.Addr())
		r := s.streaming()
		s.write(s.first, 1, 100, 2500)
		s.archived(s.first)
		must(t, s.first.Kill9())
		must(t, standby.Promote(s.ctx))
		s.write(standby, 101, 200, 1500)
		s.archived(standby)
		l, fork := s.lineage(standby)
		if end := s.branches()[segment.Lineage{Timeline: 1}].Frontier; end < fork {
			t.Errorf("timeline 1 is archived up to %s, it ended at %s", end, fork)
		}
		s.historyFirst(l)
		s.equal(standby)
		s.noAlarm(r)
	})
}

// TestCascade archives from a standby alone, which is stopped in order and started again.
func TestCascade(t *testing.T) {
	on(t, some(18), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		standby := s.first.Standby(t, "", postgres.Options{})
		s.address.SetTarget(standby.Addr())
		r := s.streaming()
		s.write(s.first, 1, 100, 1500)
		took, err := standby.Stop(postgres.Fast)
		must(t, err)
		if took > 15*time.Second {
			t.Errorf("the standby took %s to stop", took)
		}
		s.write(s.first, 101, 200, 1500)
		must(t, standby.Start())
		s.equal(s.first)
		s.noAlarm(r)
	})
}
