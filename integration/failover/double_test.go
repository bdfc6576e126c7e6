package failover_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// received says whether a receiver has got so far.
func received(lsn segment.LSN) func(walkeep.Status) bool {
	return func(st walkeep.Status) bool { return st.Received() >= lsn }
}

// TestS28SplitBrain lets two copies of a primary write one timeline, each with a receiver, into one repository: for each
// key one wins, and who finds other WAL than its own stops.
func TestS28SplitBrain(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 500)
	s.archived(s.first)
	_, err := r.Term()
	must(t, err)
	_, err = s.first.Stop(postgres.Fast)
	must(t, err)
	dir := filepath.Join(s.first.Root, "twin")
	must(t, s.run("cp", "-a", s.first.DataDir(), dir))
	twin := postgres.Open(t, dir, postgres.Options{Major: s.first.Major, Config: map[string]string{"archive_mode": "off"}})
	must(t, s.first.Start())
	must(t, twin.Start())
	before := s.snapshot()
	watched, stop := context.WithCancel(s.ctx)
	defer stop()
	seen := make(chan snapshot)
	go func() { seen <- s.firstContents(watched) }()

	receivers := []*walkeep.Receiver{s.receiveFrom(s.first.DSN()), s.receiveFrom(twin.DSN())}
	for i := range 12 {
		s.write(s.first, 1000+i, 1000+i, 400)
		s.write(twin, 2000+i, 2000+i, 300)
	}
	var loser *walkeep.Receiver
	must(t, poll.Until(s.ctx, "one of the receivers to stop", func(context.Context) (bool, error) {
		for _, r := range receivers {
			if !r.Running() {
				loser = r
			}
		}
		return loser != nil, nil
	}))
	log := loser.Log()
	for _, w := range []string{"the repository holds other WAL than this server sends", " holds ", "this server sends", "overwrites neither"} {
		if !strings.Contains(log, w) {
			t.Errorf("the loser did not say %q", w)
		}
	}
	if exit, err := loser.Wait(s.ctx); err != nil || exit == 0 {
		t.Errorf("the loser's exit code is %d, %v", exit, err)
	}
	stop()
	s.unchanged(before)
	s.unchanged(<-seen)
}

// firstContents remembers each object as it was when first seen.
func (s *site) firstContents(ctx context.Context) snapshot {
	first := snapshot{}
	_ = poll.Until(ctx, "the end of the test", func(context.Context) (bool, error) {
		for key, sum := range s.snapshot() {
			if _, known := first[key]; !known {
				first[key] = sum
			}
		}
		return false, nil
	})
	return first
}

// TestS58TwoTimelines2 promotes two standbys, each to a timeline 2 of its own: both are archived, and it takes a decision
// to restore one of them.
func TestS58TwoTimelines2(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	link := fault.Start(t, s.first.Addr())
	behind := s.first.Standby(t, link.Addr(), postgres.Options{})
	ahead := s.first.Standby(t, "", postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 500)
	must(t, behind.WaitReplay(s.ctx, s.archived(s.first)))
	link.Down()
	s.write(s.first, 101, 200, 1500)
	must(t, ahead.WaitReplay(s.ctx, s.archived(s.first)))
	must(t, s.first.Kill9())
	must(t, behind.AppendConfig(map[string]string{"archive_mode": "off"}))
	must(t, behind.Promote(s.ctx))
	must(t, ahead.Promote(s.ctx))

	s.move(behind)
	s.write(behind, 1000, 1099, 2500)
	s.archived(behind)
	s.noAlarm(r)
	before := s.snapshot()
	s.move(ahead)
	s.write(ahead, 201, 300, 2500)
	s.archived(ahead)
	wrong, _ := s.lineage(behind)
	right, _ := s.lineage(ahead)
	s.red(r, "fork", wrong.String(), right.String(), "timeline abandon")
	s.unchanged(before)

	fetch := oracle.Fetch(t, s.repo())
	if _, err := fetch(s.ctx, "00000002.history"); err == nil || !strings.Contains(err.Error(), "exit code 200") {
		t.Errorf("fetch of the history with two of them: %v, want exit code 200", err)
	}
	must(t, s.catalog().Abandon(s.ctx, wrong, "promoted by mistake", time.Now()))
	status, err := r.WaitState(s.ctx, "streaming")
	must(t, err)
	if status.Lineage != right.String() {
		t.Errorf("lineage %s is archived, want %s", status.Lineage, right)
	}
	history, err := fetch(s.ctx, "00000002.history")
	must(t, err)
	s.move(behind) // which is not to be followed any more
	s.write(behind, 1000, 1099, 5500)
	s.red(r, "fork", "abandoned")
	must(t, r.Kill9())
	r = s.receiveFrom(multihost(behind, ahead)) // both answer; the wrong one has more WAL
	_, err = r.WaitStatus(s.ctx, "the right server", func(st walkeep.Status) bool {
		return st.State == "streaming" && st.Lineage == right.String()
	})
	must(t, err)
	s.unchanged(before)
	if l, err := segment.NewLineage(2, history); err != nil || l != right {
		t.Errorf("the history served is of %s, %v; want %s", l, err, right)
	}
}

// TestS58SameFork promotes two standbys at the same position: their histories are equal, and only their WAL tells them
// apart.
func TestS58SameFork(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	one, two := s.first.Standby(t, "", postgres.Options{}), s.first.Standby(t, "", postgres.Options{})
	r := s.streaming()
	s.write(s.first, 1, 100, 500)
	end := s.archived(s.first)
	must(t, one.WaitReplay(s.ctx, end))
	must(t, two.WaitReplay(s.ctx, end))
	must(t, s.first.Kill9())
	must(t, one.Promote(s.ctx))
	must(t, two.Promote(s.ctx))
	a, _ := s.lineage(one)
	b, _ := s.lineage(two)
	if a != b {
		t.Fatalf("lineages %s and %s: the test proves nothing", a, b)
	}
	s.move(one)
	s.write(one, 101, 200, 1500)
	s.archived(one)
	before := s.snapshot()
	s.move(two)
	s.write(two, 1000, 1999, 2500)
	if exit, err := r.Wait(s.ctx); err != nil || exit == 0 {
		t.Errorf("the receiver ended with %d, %v; want it to stop at the fork", exit, err)
	}
	if !strings.Contains(r.Log(), "other WAL") {
		t.Error("the receiver did not say that the repository holds other WAL")
	}
	s.unchanged(before)
}
