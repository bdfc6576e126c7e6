package replication

import (
	"errors"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
)

// flip returns what damages the byte at lsn in streams for which bad is true.
func flip(lsn segment.LSN, bad func(sender int) bool) func(int, segment.LSN, []byte) {
	return func(sender int, from segment.LSN, p []byte) {
		if at := int64(lsn) - int64(from); at >= 0 && at < int64(len(p)) && bad(sender) {
			p[at] ^= 1
		}
	}
}

func always(int) bool { return true }

func (r *rig) gaps() []catalog.Gap {
	r.t.Helper()
	c, err := catalog.Open(r.ctx, r.ledger, systemID)
	if err != nil {
		r.t.Fatal(err)
	}
	gaps, err := c.Gaps(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return gaps
}

// damagedWAL has a record of 1000 bytes in the second of three segments, so many bytes before its end.
func damagedWAL(before int) (wal *walWriter, bad segment.LSN) {
	wal = newWAL(oneMB)
	wal.fill(wal.start+2<<20-segment.LSN(before), 0)
	bad = wal.record(1000)
	wal.fill(wal.start+2<<20+1<<19, 100)
	return wal, bad
}

// TestS13DamageOnTheWay: a record whose CRC is wrong is neither archived nor acknowledged; it is streamed again, and if it is
// right then, nothing remains of it (scenario S13).
func TestS13DamageOnTheWay(t *testing.T) {
	for name, before := range map[string]int{"in the middle of a segment": 1 << 19, "at its end": 2000} {
		t.Run(name, func(t *testing.T) {
			wal, bad := damagedWAL(before)
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.mangle = flip(bad+500, func(sender int) bool { return sender == 1 })
				var damage *record.DamageError
				if err := <-r.session(); !errors.As(err, &damage) || damage.LSN != bad {
					t.Fatalf("session ended with %v, want damage at %s", err, bad)
				}
				if end := r.ledger.durable(); end > bad {
					t.Errorf("archived up to %s with a bad record at %s", end, bad)
				}
				if got := r.server.acknowledged().flush; got > bad {
					t.Errorf("acknowledged %s with a bad record at %s", got, bad)
				}
				r.run()
				r.awaitAck(wal.end())
				r.end()
				r.expectArchived(wal.start, wal.end())
				if gaps := r.gaps(); len(gaps) != 0 {
					t.Errorf("gaps %v", gaps)
				}
				if n := r.receiver.Status().UncheckedBytes; n != 0 {
					t.Errorf("%d bytes unchecked", n)
				}
			})
		})
	}
}

// TestS13DamageOnTheServer: the same record comes damaged twice: the rest of its segment is archived as it is, under a Gap, and
// the next segment is checked again.
func TestS13DamageOnTheServer(t *testing.T) {
	wal, bad := damagedWAL(1 << 19)
	second := segmentAt(wal, 1)
	worse := wal.record(1000) // in the third segment
	wal.record(1000)
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		sent := []func(int, segment.LSN, []byte){flip(bad+500, always), flip(worse+700, always)}
		r.server.mangle = func(sender int, from segment.LSN, p []byte) {
			for _, damage := range sent {
				damage(sender, from, p)
			}
		}
		r.run()
		r.awaitAck(wal.end())
		r.end()
		gaps := r.gaps()
		if len(gaps) != 2 || gaps[0].From != bad || gaps[0].To != second.End() || gaps[1].From != worse ||
			gaps[0].Kind != catalog.GapDamaged || gaps[1].Kind != catalog.GapDamaged {
			t.Errorf("gaps %v", gaps)
		}
		status := r.receiver.Status()
		if want := uint64(second.End() - bad); status.UncheckedBytes < want-1<<17 || status.UncheckedBytes > want+1<<20 {
			t.Errorf("%d bytes unchecked", status.UncheckedBytes)
		}
		wal.buf[bad+500-wal.start] ^= 1 // what was sent
		wal.buf[worse+700-wal.start] ^= 1
		r.expectArchived(wal.start, wal.end())
	})
}

// TestS13DamageAcrossSegments: a record that begins in a segment handed over already is checked where it ends, also if the
// streams between came to nothing and the segment is not yet stored.
func TestS13DamageAcrossSegments(t *testing.T) {
	for name, held := range map[string]bool{"first segment stored": false, "first segment on its way": true} {
		t.Run(name, func(t *testing.T) {
			wal := newWAL(oneMB)
			wal.fill(wal.start+1<<20, 0)
			bad := wal.record(5000)
			wal.fill(wal.start+2<<20+1<<19, 100)
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				release := func() {}
				if held {
					release = r.ledger.hold("/wal/")
				}
				r.server.mangle = flip(bad+4000, always)
				var damage *record.DamageError
				if err := <-r.session(); !errors.As(err, &damage) || damage.LSN != bad {
					t.Fatalf("session ended with %v, want damage at %s", err, bad)
				}
				r.server.script = func(d *sender) error { return d.conn.Close() }
				for range 2 {
					<-r.session() // ends before anything comes
				}
				r.server.script = nil
				done := r.session()
				time.Sleep(10 * time.Second)
				release()
				r.awaitAck(wal.end())
				close(r.stop)
				<-done
				gaps := r.gaps()
				if len(gaps) != 1 || gaps[0].From != bad || gaps[0].To != segmentAt(wal, 1).End() {
					t.Errorf("gaps %v", gaps)
				}
			})
		})
	}
}

// TestServerThatSendsGarbage: damage that is another one each time is never archived, and the server is not asked without a
// pause.
func TestServerThatSendsGarbage(t *testing.T) {
	wal, bad := damagedWAL(1 << 19)
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		streams := 0
		r.server.mangle = func(sender int, from segment.LSN, p []byte) {
			streams = sender
			flip(bad+500-segment.LSN(sender%2)*5*walPage, always)(sender, from, p)
		}
		r.run()
		time.Sleep(time.Minute)
		r.end()
		if gaps := r.gaps(); len(gaps) != 0 {
			t.Errorf("gaps %v", gaps)
		}
		if streams < 20 || streams > 200 {
			t.Errorf("%d streams in a minute", streams)
		}
		// What came of the record before the damage may be archived: its CRC can't be known then.
		if end := r.ledger.durable(); end > bad+500 {
			t.Errorf("archived up to %s", end)
		}
	})
}
