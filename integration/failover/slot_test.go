package failover_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// scarce is a server that keeps little WAL for a slot.
var scarce = map[string]string{"max_slot_wal_keep_size": "3MB", "min_wal_size": "2MB", "max_wal_size": "64MB", "wal_keep_size": "0"}

// loseSlot writes until the server has given up the receiver's slot.
func (s *site) loseSlot() {
	s.t.Helper()
	must(s.t, poll.Until(s.ctx, "the slot to be lost", func(context.Context) (bool, error) {
		s.write(s.first, 500, 500, 3000)
		s.first.MustExec(s.t, "CHECKPOINT")
		return s.slotStatus(s.first) == "lost", nil
	}))
}

// removeSegment writes until the server has removed the segment with lsn.
func (s *site) removeSegment(lsn segment.LSN) {
	s.t.Helper()
	name := segment.NameAt(1, lsn, s.catalog().SegmentSize())
	must(s.t, poll.Until(s.ctx, "the server to remove "+name.String(), func(context.Context) (bool, error) {
		s.write(s.first, 500, 500, 1000)
		s.first.MustExec(s.t, "CHECKPOINT")
		_, err := os.Stat(filepath.Join(s.first.DataDir(), "pg_wal", name.String()))
		return os.IsNotExist(err), nil
	}))
}

// slotStatus is the server's wal_status of the receiver's slot; "" if there is no slot.
func (s *site) slotStatus(of *postgres.Server) string {
	s.t.Helper()
	return of.MustQuery(s.t, "SELECT coalesce((SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = 'walkeep'), '')")
}

// TestS16SlotLostWhileDown keeps the receiver away until the server has removed WAL that it still needed.
func TestS16SlotLostWhileDown(t *testing.T) {
	majors := postgres.Matrix()
	if len(majors) == 3 {
		majors = []int{13, 15, 16, 18} // each treats a lost slot in its own way
	}
	on(t, majors, func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major, Config: scarce})
		r := s.streaming()
		s.write(s.first, 1, 100, 1500)
		s.archived(s.first)
		_, err := r.Term()
		must(t, err)
		end, err := s.frontier(s.ctx, segment.Lineage{Timeline: 1})
		must(t, err)
		s.loseSlot()
		s.removeSegment(end)
		_, err = s.first.SwitchWAL(s.ctx) // an idle server that has nothing to send behind its last segment
		must(t, err)

		r = s.receive()
		st := s.red(r, "gap", "lost")
		gap := s.onlyGap()
		if gap.Kind != catalog.GapLost || gap.From != end || gap.To <= end || len(st.Gaps) != 1 {
			t.Errorf("gap %+v in the repository, %s in the status; want one that begins at %s", gap, st.Gaps, end)
		}
		s.showsGap(r, gap)
		s.write(s.first, 101, 200, 1500)
		s.equal(s.first)
		s.bytesBefore(gap)
		s.slotWorks()
	})
}

// onlyGap is the gap that the repository has; there must be no other.
func (s *site) onlyGap() catalog.Gap {
	s.t.Helper()
	gaps, err := s.catalog().Gaps(s.ctx)
	must(s.t, err)
	if len(gaps) != 1 {
		s.t.Fatalf("gaps in the repository: %v, want one", gaps)
	}
	return gaps[0]
}

// showsGap looks for the gap in the metrics and in walkeep list.
func (s *site) showsGap(r *walkeep.Receiver, gap catalog.Gap) {
	s.t.Helper()
	code, body, err := r.Get(s.ctx, "/metrics")
	must(s.t, err)
	if code != 200 || !strings.Contains(string(body), "walkeep_healthy 0") || !strings.Contains(string(body), "gap") {
		s.t.Errorf("/metrics does not show the gap: %d\n%s", code, body)
	}
	var l struct {
		Clusters []struct{ Gaps []catalog.Gap }
	}
	must(s.t, json.Unmarshal([]byte(walkeep.MustRun(s.t, "list", "--repo", s.repo(), "--json")), &l))
	if len(l.Clusters) != 1 || len(l.Clusters[0].Gaps) != 1 || l.Clusters[0].Gaps[0].To != gap.To {
		s.t.Errorf("walkeep list shows %+v, want %v", l, gap)
	}
	if text := walkeep.MustRun(s.t, "list", "--repo", s.repo()); !strings.Contains(text, gap.From.String()) {
		s.t.Errorf("walkeep list does not show the gap:\n%s", text)
	}
}

// bytesBefore compares the tail that ends where the gap begins with archive_command's copy of the segment.
func (s *site) bytesBefore(gap catalog.Gap) {
	s.t.Helper()
	c := s.catalog()
	n := segment.NameAt(gap.Lineage.Timeline, gap.From, c.SegmentSize())
	offset := c.SegmentSize().Offset(gap.From)
	raw, err := c.Tail(s.ctx, gap.Lineage, n, nil)
	must(s.t, err)
	file, err := os.ReadFile(filepath.Join(s.first.OracleDir, n.String()))
	must(s.t, err)
	must(s.t, oracle.Diff(raw, file[:offset]))
}

// slotWorks fails the test unless the receiver's slot keeps WAL again: it does so while the receiver does not move it.
func (s *site) slotWorks() {
	s.t.Helper()
	if status := s.slotStatus(s.first); status != "reserved" {
		s.t.Errorf("wal_status of the slot is %q, want reserved", status)
	}
	must(s.t, poll.Until(s.ctx, "the slot to follow the archive", func(context.Context) (bool, error) {
		at := s.first.MustQuery(s.t, "SELECT pg_current_wal_flush_lsn() - restart_lsn < 1 << 20 FROM pg_replication_slots WHERE slot_name = 'walkeep'")
		return at == "t", nil
	}))
}

// TestS16SlotLostUnderUs stops the receiver's process while it is connected, until the server has given up the slot: 16
// and 17 let it stream on afterwards and keep nothing for it.
func TestS16SlotLostUnderUs(t *testing.T) {
	on(t, some(16), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major, Config: scarce})
		r := s.streaming()
		s.write(s.first, 1, 100, 1500)
		s.archived(s.first)
		must(t, r.Signal(syscall.SIGSTOP))
		s.loseSlot()
		must(t, r.Signal(syscall.SIGCONT))
		must(t, poll.Until(s.ctx, "a slot that keeps WAL", func(context.Context) (bool, error) {
			return s.slotStatus(s.first) == "reserved", nil
		}))
		s.write(s.first, 101, 200, 1500)
		s.equal(s.first)
		s.slotWorks()
	})
}
