package failover_test

import (
	"context"
	"strings"
	"testing"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/segment"
)

// farther is the standby that has received more, and the other.
func (s *site) farther(a, b *postgres.Server) (ahead, behind *postgres.Server) {
	s.t.Helper()
	la, err := a.FlushLSN(s.ctx)
	must(s.t, err)
	lb, err := b.FlushLSN(s.ctx)
	must(s.t, err)
	if lb > la {
		return b, a
	}
	return a, b
}

// follow lets a standby stream from another server.
func (s *site) follow(standby *postgres.Server, primary string) {
	s.t.Helper()
	must(s.t, standby.AppendConfig(map[string]string{"primary_conninfo": s.first.DSNAt(primary)}))
	must(s.t, standby.Reload(s.ctx))
}

// TestS26FailoverUnderLoad names three servers, loses the primary under load, and promotes the standby that is ahead: the
// slot is there already, though both standbys have removed all the WAL they could while no receiver ran.
func TestS26FailoverUnderLoad(t *testing.T) {
	on(t, some(15), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major, Config: map[string]string{"min_wal_size": "2MB", "wal_keep_size": "0"}})
		one, two := s.first.Standby(t, "", postgres.Options{}), s.first.Standby(t, "", postgres.Options{})
		dsn := multihost(one, s.first, two)
		r := s.receiveFrom(dsn)
		_, err := r.WaitState(s.ctx, "streaming")
		must(t, err)
		s.write(s.first, 1, 100, 2500)
		s.archived(s.first)
		must(t, poll.Until(s.ctx, "the slot on both standbys", func(context.Context) (bool, error) {
			return s.slotStatus(one) != "" && s.slotStatus(two) != "", nil
		}))
		_, err = r.Term()
		must(t, err)
		stop := s.load(&ledger{}, s.first.DSN())
		s.write(s.first, 101, 200, 4500)
		s.first.MustExec(t, "CHECKPOINT")
		flushed, err := s.first.FlushLSN(s.ctx)
		must(t, err)
		for _, standby := range []*postgres.Server{one, two} {
			must(t, standby.WaitReplay(s.ctx, flushed))
			standby.MustExec(t, "CHECKPOINT")
		}
		must(t, s.first.Kill9())
		stop()
		next, other := s.farther(one, two)
		must(t, next.Promote(s.ctx))
		s.follow(other, next.Addr())
		r = s.receiveFrom(dsn)
		s.write(next, 201, 300, 1500)
		s.archived(next)
		_, fork := s.lineage(next)
		if end := s.branches()[segment.Lineage{Timeline: 1}].Frontier; end < fork {
			t.Errorf("timeline 1 is archived up to %s, it ended at %s", end, fork)
		}
		s.equal(next)
		s.noAlarm(r)
		if status := s.slotStatus(next); status != "reserved" {
			t.Errorf("wal_status on the new primary is %q", status)
		}
	})
}

// portOf is the port that a proxy listens on.
func portOf(p *fault.Proxy) string {
	_, port, _ := strings.Cut(p.Addr(), ":")
	return port
}
