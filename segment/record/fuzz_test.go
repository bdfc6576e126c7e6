package record_test

import (
	"fmt"
	"slices"
	"testing"

	"walkeep/segment"
	"walkeep/segment/record"
)

// FuzzFeed: whatever comes, in whatever pieces, the Reader says the same of it, and never more than it read.
// Run it with -fuzzminimizetime=1x: counters along the walk make almost every input "interesting".
func FuzzFeed(f *testing.F) {
	small := damagedWAL()
	f.Add(small.buf, 100, false)
	crash := newWriter(oneMB)
	crash.record(10, 0, 1, fill(50))
	crash.abandon(2)
	f.Add(crash.buf, 4096, false)
	switched := newWriter(oneMB)
	switched.switchSegment()
	f.Add(switched.buf[:3*pageSize], 8191, true)
	f.Add(append(slices.Clone(small.buf), make([]byte, 100)...), 1, true)
	later := newWriter(oneMB)
	later.magic = 0xD120
	later.record(10, 0, 1, fill(50))
	f.Add(later.buf, 9, false)
	f.Fuzz(func(t *testing.T, wal []byte, piece int, padding bool) {
		if piece < 1 {
			return
		}
		read := func(piece int) (*record.Reader, []record.Record) {
			r := small.reader()
			if padding {
				r.AllowPadding()
			}
			return r, feed(r, wal, func(int) int { return piece })
		}
		a, records := read(len(wal))
		b, same := read(piece)
		if fmt.Sprint(a.Err()) != fmt.Sprint(b.Err()) || !slices.Equal(records, same) {
			t.Fatalf("at once: %d records, error %v; in pieces: %d records, error %v", len(records), a.Err(), len(same), b.Err())
		}
		end := small.start + segment.LSN(len(wal))
		if a.Err() == nil && (a.Position() != end || b.Position() != end || a.Unchecked() != b.Unchecked()) {
			t.Fatalf("position %s and %s, want %s", a.Position(), b.Position(), end)
		}
		if a.Position() > end || a.Unchecked() > uint64(len(wal)) {
			t.Fatalf("position %s of %s, %d of %d bytes unchecked", a.Position(), end, a.Unchecked(), len(wal))
		}
	})
}
