package failover_test

import (
	"testing"

	"walkeep/integration/fault"
	"walkeep/integration/postgres"
	"walkeep/segment"
)

// TestRewoundPrimary lets an old primary that had gone its own way come back by pg_rewind: it is a good source again,
// first as a standby and then as the primary.
func TestRewoundPrimary(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{Config: map[string]string{"wal_log_hints": "on", "wal_keep_size": "64MB"}})
	link := fault.Start(t, s.first.Addr())
	next := s.first.Standby(t, link.Addr(), postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 1200)
	must(t, next.WaitReplay(s.ctx, s.archived(s.first)))
	link.Down()
	s.write(s.first, 1000, 1999, 2500)
	s.archived(s.first)
	must(t, next.Promote(s.ctx))
	_, err := s.first.Stop(postgres.Fast)
	must(t, err)
	s.move(next)
	s.write(next, 101, 200, 1200)
	s.archived(next)
	before := s.snapshot()

	next.MustExec(t, "CHECKPOINT")
	must(t, s.run(postgres.Tool("pg_rewind"), "--target-pgdata", s.first.DataDir(), "--source-server", next.DSN()))
	s.asStandby(s.first, map[string]string{"primary_conninfo": next.DSN(), "recovery_target_timeline": "latest"})
	must(t, s.first.Start())
	s.move(s.first)
	s.write(next, 201, 300, 1200)
	s.archived(next)
	_, err = r.WaitState(s.ctx, "streaming")
	must(t, err)

	_, err = next.Stop(postgres.Fast)
	must(t, err)
	must(t, s.first.Promote(s.ctx))
	s.write(s.first, 301, 400, 1200)
	s.archived(s.first)
	l, fork := s.lineage(s.first)
	if l.Timeline != 3 {
		t.Errorf("the old primary is on timeline %d, want 3", l.Timeline)
	}
	two, _ := s.history(s.first, 2)
	if end := s.branches()[two].Frontier; end < fork {
		t.Errorf("timeline 2 is archived up to %s, it ended at %s", end, fork)
	}
	s.equal(s.first)
	s.unchanged(before)
	s.noAlarm(r)
}

// TestResetWAL begins the server's WAL anew with pg_resetwal: its history is broken there, which is said, and streaming
// goes on behind it.
func TestResetWAL(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 1200)
	end := s.archived(s.first)
	_, err := s.first.Stop(postgres.Fast)
	must(t, err)
	before := s.snapshot()
	must(t, s.run(postgres.Tool("pg_resetwal"), "-f", s.first.DataDir()))
	must(t, s.first.Start())
	s.red(r, "gap", "lost")
	gap := s.onlyGap()
	if gap.From < end || s.catalog().SegmentSize().Offset(gap.To) != 0 {
		t.Errorf("gap [%s, %s), want it to begin at or behind %s and to end with a segment", gap.From, gap.To, end)
	}
	s.write(s.first, 101, 200, 1200)
	s.archived(s.first)
	if b := s.branches()[segment.Lineage{Timeline: 1}]; b.Frontier <= gap.To {
		t.Errorf("the archive ends at %s, want it to go on behind the gap's end %s", b.Frontier, gap.To)
	}
	s.equal(s.first)
	s.unchanged(before)
}
