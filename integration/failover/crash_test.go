package failover_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"walkeep/integration/fault"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// largeRecord is one record of WAL that spans many segments.
const largeRecord = "SELECT pg_logical_emit_message(false, 'large', repeat(md5(random()::text), 800000))"

// TestCrashInsideARecord kills the primary while it writes large records: what it had flushed of the last one stays in the
// archive, and the server marks the page where it goes on instead (XLP_FIRST_IS_OVERWRITE_CONTRECORD).
func TestCrashInsideARecord(t *testing.T) {
	majors := postgres.Matrix()
	if walkeep.Long() {
		majors = postgres.Majors
	}
	on(t, majors, func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		r := s.streaming()
		for range 8 {
			s.crashInRecord()
			s.write(s.first, 1, 100, 500)
			s.equal(s.first)
			if s.overwritten() > 0 {
				s.noAlarm(r)
				return
			}
		}
		t.Error("no crash hit a record: the test proves nothing")
	})
}

// crashInRecord kills the primary as soon as it has flushed some of a record, and starts it again.
func (s *site) crashInRecord() {
	s.t.Helper()
	from, err := s.first.FlushLSN(s.ctx)
	must(s.t, err)
	conn, err := s.first.Connect(s.ctx)
	must(s.t, err)
	watch, err := s.first.Connect(s.ctx)
	must(s.t, err)
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = conn.Exec(s.ctx, largeRecord)
		_ = conn.Close(s.ctx)
	})
	for at := from; at < from+2<<20 && s.ctx.Err() == nil; {
		var text string
		must(s.t, watch.QueryRow(s.ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text))
		at, err = segment.ParseLSN(text)
		must(s.t, err)
	}
	must(s.t, s.first.Kill9())
	_ = watch.Close(s.ctx)
	writing.Wait()
	must(s.t, s.first.Start())
}

// overwritten counts the pages of archived segments that begin with the mark (access/xlog_internal.h).
func (s *site) overwritten() int {
	s.t.Helper()
	const mark, pageSize = 0x0008, 8192
	files, err := filepath.Glob(filepath.Join(s.first.OracleDir, "0*"))
	must(s.t, err)
	n := 0
	for _, f := range files {
		content, err := os.ReadFile(f)
		must(s.t, err)
		for ; len(content) >= pageSize && segment.IsWALFileName(filepath.Base(f)); content = content[pageSize:] {
			if binary.LittleEndian.Uint16(content[2:])&mark != 0 && !bytes.Equal(content[:2], []byte{0, 0}) {
				n++
			}
		}
	}
	return n
}

// TestPromotionInsideARecord promotes a standby, which we stream from, that has received half a record: the new timeline
// begins before it, whole segments behind what we had received.
func TestPromotionInsideARecord(t *testing.T) {
	on(t, some(15), func(t *testing.T, major int) {
		s := newSite(t, postgres.Options{Major: major})
		link := fault.Start(t, s.first.Addr())
		standby := s.first.Standby(t, link.Addr(), postgres.Options{})
		s.address.SetTarget(standby.Addr())
		r := s.streaming()
		s.write(s.first, 1, 100, 500)
		begin := s.archived(s.first)
		link.Bandwidth(fault.ToClient, 6<<20)
		s.first.MustExec(t, largeRecord)
		s.first.MustExec(t, "INSERT INTO written VALUES (1)")
		_, err := r.WaitStatus(s.ctx, "three segments of the record", received(begin+3<<20))
		must(t, err)
		link.Down()
		must(t, s.first.Kill9())
		must(t, standby.Promote(s.ctx))
		s.write(standby, 101, 200, 6500)
		s.archived(standby)
		l, fork := s.lineage(standby)
		old := s.branches()[segment.Lineage{Timeline: 1}]
		if old.Frontier < fork+2<<20 {
			t.Fatalf("timeline 1 is archived up to %s, the fork is at %s: the test proves nothing", old.Frontier, fork)
		}
		if want := s.catalog().SegmentSize().Start(fork); s.branches()[l].Begin != want {
			t.Errorf("timeline 2 is archived from %s, want %s", s.branches()[l].Begin, want)
		}
		s.equal(standby)
		s.noAlarm(r)
	})
}
