package failover_test

import (
	"path/filepath"
	"strings"
	"testing"

	"walkeep/integration/fault"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// TestS23ForkBehindTheArchive promotes a standby that had been cut off: the archive has more of the old timeline than the
// new primary ever had. Then the old primary comes back (S24), and the new timeline is restored (S46).
func TestS23ForkBehindTheArchive(t *testing.T) {
	on(t, some(13), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		link := fault.Start(t, s.first.Addr())
		standby := s.first.Standby(t, link.Addr(), postgres.Options{})
		r := s.streaming()
		base := s.base(s.first)
		s.write(s.first, 1, 100, 1500)
		must(t, standby.WaitReplay(s.ctx, s.archived(s.first)))
		link.Down()
		s.write(s.first, 1000, 1999, 2500) // the standby never hears of it
		lost := s.archived(s.first)
		must(t, s.first.Kill9())
		before := s.snapshot()

		s.move(standby) // too early: it can't tell yet whether it will catch up
		_, err := r.WaitStatus(s.ctx, "a word about the standby", func(st walkeep.Status) bool {
			return st.State == "connecting" && strings.Contains(st.Message, "waiting until it has caught up")
		})
		must(t, err)
		must(t, standby.Promote(s.ctx))
		s.write(standby, 101, 200, 3500)
		s.archived(standby)
		l, fork := s.lineage(standby)
		if fork >= lost {
			t.Fatalf("the fork %s is not behind the archive's end %s: the test proves nothing", fork, lost)
		}
		branches := s.branches()
		if end := branches[segment.Lineage{Timeline: 1}].Frontier; end < lost {
			t.Errorf("of timeline 1 WAL up to %s was archived, now up to %s", lost, end)
		}
		if want := s.catalog().SegmentSize().Start(fork); branches[l].Begin != want {
			t.Errorf("timeline 2 is archived from %s, want %s", branches[l].Begin, want)
		}
		s.equal(standby)
		s.noAlarm(r)

		t.Run("S24", func(t *testing.T) {
			must(t, s.first.Start())
			s.move(s.first)
			s.write(s.first, 3000, 3999, 2500)
			s.red(r, "fork", "timeline 2", "old primary", "pg_rewind")
			s.move(standby)
			_, err := r.WaitState(s.ctx, "streaming")
			must(t, err)
			s.write(standby, 201, 300, 100)
			s.archived(standby)
			s.noAlarm(r)
		})
		s.unchanged(before)

		t.Run("S46", func(t *testing.T) {
			restored := s.restore(base, nil)
			if got, want := s.rows(restored), s.rows(standby); got != want {
				t.Errorf("restored: %s, want %s", got, want)
			}
			if log := restored.Log(0); !strings.Contains(log, "new timeline ID: 3") && !strings.Contains(log, "selected new timeline ID: 3") {
				t.Errorf("the restore did not end on timeline 2:\n%s", restored.Log(30))
			}
		})
	})
}

// TestS55NewPrimaryLostAtOnce loses the new primary before a byte of its timeline is durable, and restores to the point
// where it was promoted: what the old primary wrote behind that, though it is archived, is not replayed.
func TestS55NewPrimaryLostAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	link := fault.Start(t, s.first.Addr())
	standby := s.first.Standby(t, link.Addr(), postgres.Options{})
	r := s.streaming()
	base := s.base(s.first)
	s.write(s.first, 1, 100, 1500)
	want := s.rows(s.first)
	must(t, standby.WaitReplay(s.ctx, s.archived(s.first)))
	link.Down()
	s.write(s.first, 2000, 2099, 1500)
	s.archived(s.first)
	must(t, s.first.Kill9())
	_, err := r.Term()
	must(t, err)
	must(t, standby.Promote(s.ctx))
	s.address.SetTarget(standby.Addr())
	r = s.streaming("--tail-interval", "1h") // what it receives stays in its memory
	standby.MustExec(t, "INSERT INTO written VALUES (1000)")
	flushed, err := standby.FlushLSN(s.ctx)
	must(t, err)
	_, err = r.WaitStatus(s.ctx, "the new timeline's first bytes", received(flushed))
	must(t, err)
	must(t, r.Kill9())
	must(t, standby.Kill9())
	l, fork := s.history(standby, 2)
	if b := s.branches()[l]; b.Frontier > fork[0].Switch {
		t.Fatalf("timeline 2 is archived up to %s, beyond the fork at %s: the test proves nothing", b.Frontier, fork[0].Switch)
	}
	restored := s.restore(base, nil)
	if got := s.rows(restored); got != want {
		t.Errorf("restored: %s, want %s", got, want)
	}
	if tl := s.timeline(restored); tl != 3 {
		t.Errorf("the restored server is on timeline %d, want 3, behind timeline 2", tl)
	}
}

// TestRolledBackPrimary puts an older copy of the primary's disk back, as a snapshot or a lying disk does: the server has
// lost WAL that it had flushed, and what it writes instead is not taken for it.
func TestRolledBackPrimary(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 500)
	s.archived(s.first)
	_, err := s.first.Stop(postgres.Fast)
	must(t, err)
	old := filepath.Join(s.first.Root, "old")
	must(t, s.run("cp", "-a", s.first.DataDir(), old))
	must(t, s.first.Start())
	s.write(s.first, 101, 200, 1200)
	s.archived(s.first)
	_, err = s.first.Stop(postgres.Fast)
	must(t, err)
	before := s.snapshot()
	must(t, s.run("rm", "-rf", s.first.DataDir()))
	must(t, s.run("mv", old, s.first.DataDir()))
	must(t, s.first.Start())
	s.red(r, "fork", "lost WAL", "--branch")

	s.write(s.first, 500, 999, 2500) // beyond what is archived: only the bytes tell now
	if exit, err := r.Wait(s.ctx); err != nil || exit == 0 {
		t.Errorf("the receiver ended with %d, %v; want it to stop at the fork", exit, err)
	}
	for _, w := range []string{"other WAL", "overwrites neither"} {
		if !strings.Contains(r.Log(), w) {
			t.Errorf("the receiver did not say %q", w)
		}
	}
	s.unchanged(before)
}
