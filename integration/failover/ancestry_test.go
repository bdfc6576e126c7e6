package failover_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/segment"
)

// TestLostAcrossTimelines drops the slot while the receiver is down, and lets the server go through two promotions and
// remove all the WAL it can: each timeline's missing part is a gap of its own, and streaming goes on behind them.
func TestLostAcrossTimelines(t *testing.T) {
	on(t, some(15), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major, Config: map[string]string{"min_wal_size": "2MB", "wal_keep_size": "0"}})
		r := s.streaming()
		s.write(s.first, 1, 100, 500)
		s.archived(s.first)
		_, err := r.Term()
		must(t, err)
		end, err := s.frontier(s.ctx, segment.Lineage{Timeline: 1})
		must(t, err)
		s.first.MustDropSlot(t, "walkeep")
		for range 2 {
			s.write(s.first, 101, 200, 2500)
			s.promoteInPlace(s.first)
		}
		must(t, s.removed(2))
		r = s.receive()
		s.red(r, "gap", "lost")
		s.write(s.first, 201, 300, 1500)
		s.archived(s.first)
		gaps, err := s.catalog().Gaps(s.ctx)
		must(t, err)
		three, forks := s.history(s.first, 3)
		two, _ := s.history(s.first, 2)
		// What the last segment of timeline 2 holds is in the first one of timeline 3, which the server may have.
		if len(gaps) < 2 || gaps[0].From != end || gaps[0].To != forks[0].Switch || gaps[1].Lineage != two || gaps[1].To > forks[1].Switch {
			t.Errorf("gaps %v, want [%s, %s) of timeline 1 and one of timeline 2 that does not go beyond %s", gaps, end, forks[0].Switch, forks[1].Switch)
		}
		if b := s.branches()[two]; b.Frontier != forks[1].Switch {
			t.Errorf("timeline 2 ended at %s, the archive has it, with its gap, up to %s", forks[1].Switch, b.Frontier)
		}
		for _, g := range gaps {
			if g.Kind != catalog.GapLost {
				t.Errorf("gap of kind %s: %v", g.Kind, g)
			}
		}
		if b := s.branches()[three]; b.Frontier < forks[1].Switch {
			t.Errorf("timeline 3 is archived up to %s only", b.Frontier)
		}
		s.equal(s.first)
	})
}

// removed writes and checkpoints until the server has no segment of the timeline any more.
func (s *site) removed(timeline segment.Timeline) error {
	return poll.Until(s.ctx, "the server to remove WAL of timeline "+timeline.String(), func(context.Context) (bool, error) {
		s.write(s.first, 500, 500, 2000)
		s.first.MustExec(s.t, "CHECKPOINT")
		left, err := filepath.Glob(filepath.Join(s.first.DataDir(), "pg_wal", timeline.String()+"????????????????"))
		return len(left) == 0, err
	})
}

// TestLostUpToABoundary loses the last WAL of a timeline that ended with a segment.
func TestLostUpToABoundary(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{Config: map[string]string{"min_wal_size": "2MB", "wal_keep_size": "0"}})
	link := fault.Start(t, s.first.Addr())
	standby := s.first.Standby(t, link.Addr(), postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 500)
	end := s.archived(s.first)
	_, err := r.Term()
	must(t, err)
	s.write(s.first, 101, 200, 2500)
	boundary, err := s.first.SwitchWAL(s.ctx)
	must(t, err)
	size := s.catalog().SegmentSize()
	boundary = size.Start(boundary-1) + segment.LSN(size)
	must(t, standby.WaitReplay(s.ctx, boundary))
	link.Down()
	must(t, s.first.Kill9())
	must(t, standby.Promote(s.ctx))
	l, fork := s.lineage(standby)
	if fork != boundary {
		t.Fatalf("the timeline forked at %s, not at the boundary %s: the test proves nothing", fork, boundary)
	}
	left, err := filepath.Glob(filepath.Join(standby.DataDir(), "pg_wal", "00000001????????????????"))
	must(t, err)
	for _, file := range left { // as a server does that was restored from a base backup behind the fork
		must(t, os.Remove(file))
	}
	s.move(standby)
	r = s.receive()
	s.red(r, "gap", "lost")
	s.write(standby, 201, 300, 1500)
	s.archived(standby)
	gap := s.onlyGap()
	if gap.From < end || gap.To != boundary {
		t.Errorf("gap [%s, %s), want [%s, %s)", gap.From, gap.To, end, boundary)
	}
	if b := s.branches()[l]; b.Begin != boundary {
		t.Errorf("timeline 2 is archived from %s, want %s", b.Begin, boundary)
	}
}

// TestBeginOnALaterTimeline begins an archive with a server that has been through promotions, and with a slot that keeps
// WAL from before them.
func TestBeginOnALaterTimeline(t *testing.T) {
	on(t, some(13), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		s.first.MustExec(t, "SELECT pg_create_physical_replication_slot('walkeep', true)")
		s.write(s.first, 1, 10, 1500)
		s.promoteInPlace(s.first)
		s.write(s.first, 11, 20, 1500)
		s.promoteInPlace(s.first)
		r := s.streaming()
		s.write(s.first, 21, 30, 1500)
		s.archived(s.first)
		if n := len(s.branches()); n != 3 {
			t.Errorf("%d timelines are archived, want all 3 that the slot kept", n)
		}
		s.equal(s.first)
		s.noAlarm(r)

		_, err := r.Term()
		must(t, err)
		s.first.MustDropSlot(t, "walkeep")
		s.first.MustExec(t, "CHECKPOINT")
		s.dir += "-second"
		r = s.streaming()
		s.archived(s.first)
		if n := len(s.branches()); n != 1 {
			t.Errorf("%d timelines are archived, want the third only", n)
		}
		histories, err := s.catalog().AllLineages(s.ctx)
		must(t, err)
		if len(histories) != 3 {
			t.Errorf("histories in the archive: %v, want those of all timelines", histories)
		}
		s.noAlarm(r)
	})
}

// TestKilledWhileSwitching kills one of two receivers at random moments while the server is promoted again and again.
func TestKilledWhileSwitching(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	chance := random(t)
	active, waiting := s.streaming(), s.receive()
	for i := range 4 {
		s.write(s.first, 100*i, 100*i+99, 600)
		s.promoteInPlace(s.first)
		pause(s.ctx, time.Duration(chance.Int64N(int64(700*time.Millisecond))))
		must(t, active.Kill9())
		active, waiting = waiting, s.receive()
	}
	s.archived(s.first)
	_, forks := s.history(s.first, 5)
	branches := s.branches()
	for _, f := range forks {
		l, _ := s.history(s.first, f.Timeline)
		if branches[l].Frontier < f.Switch {
			t.Errorf("timeline %d ended at %s, it is archived up to %s", f.Timeline, f.Switch, branches[l].Frontier)
		}
	}
	s.equal(s.first)
	s.noAlarm(active)
}
