package record_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walkeep/segment"
	"walkeep/segment/record"
)

// drawWAL writes records of every shape, then enough for each page but the last to be followed by another.
func drawWAL(t *rapid.T) *writer {
	w := newWriter(oneMB)
	switches := 0
	for range rapid.IntRange(1, 60).Draw(t, "records") {
		xid := rapid.Uint32().Draw(t, "xid")
		switch rapid.IntRange(0, 9).Draw(t, "shape") {
		case 0: // ends with its page
			room := int(-w.nextStart() & (pageSize - 1))
			w.record(10, 0, xid, fill(max(room-24, 0)))
		case 1: // leaves room for a part of the next header only
			room := int(-w.nextStart() & (pageSize - 1))
			w.record(10, 0x80, xid, fill(max(room-24-rapid.SampledFrom([]int{8, 16, 24}).Draw(t, "rest"), 0)))
		case 2:
			w.record(21, 0, xid, fill(rapid.IntRange(0, 200_000).Draw(t, "long")))
		case 3:
			w.abandon(rapid.IntRange(1, 3).Draw(t, "pages"))
		case 4:
			if switches < 2 {
				w.switchSegment()
				switches++
			}
		case 5:
			w.record(200, 0x10, xid, fill(pageSize))
		default:
			w.record(byte(rapid.IntRange(0, 21).Draw(t, "rmid")), 0x20, xid, fill(rapid.IntRange(0, 300).Draw(t, "body")))
		}
	}
	w.record(10, 0, 1, fill(3*pageSize))
	return w
}

func TestAnyRecordsInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWAL(t)
		largest := rapid.SampledFrom([]int{1, 30, 9000, 3 << 20}).Draw(t, "largest")
		wal := w.buf[:min(len(w.buf), 10_000*largest)]
		if rapid.Bool().Draw(t, "cut") {
			wal = wal[:rapid.IntRange(0, len(wal)).Draw(t, "bytes")]
		}
		pieces := rapid.SliceOfN(rapid.IntRange(1, largest), 1, 50).Draw(t, "pieces")
		i, r := 0, w.reader()
		var got []record.Record
		for rest := wal; len(rest) > 0; i++ {
			n := min(pieces[i%len(pieces)], len(rest))
			got = append(got, feed(r, rest[:n], atOnce)...)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			rest, r = rest[n:], r.Clone()
		}
		end := w.start + segment.LSN(len(wal))
		n, _ := slices.BinarySearch(w.ends, end+1)
		if !slices.Equal(got, w.records[:n]) {
			t.Errorf("records (-want +got):\n%s", cmp.Diff(w.records[:n], got))
		}
		if r.Position() != end {
			t.Errorf("position %s, want %s", r.Position(), end)
		}
		if got := r.Unchecked(); got > w.lost || len(wal) == len(w.buf) && got != w.lost {
			t.Errorf("%d bytes unchecked, want %d", got, w.lost)
		}
	})
}

// TestAnyFlippedBit: one wrong bit in a page header or a record never passes.
func TestAnyFlippedBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWAL(t)
		for range 5 {
			at := rapid.IntRange(0, len(w.buf)-1).Draw(t, "byte")
			if rapid.Bool().Draw(t, "header") { // half of the flips near a page's start
				at = at&^(pageSize-1) + at%48
			}
			bit := rapid.IntRange(0, 7).Draw(t, "bit")
			if at >= len(w.buf) || !w.covered[at] || isFree(at, bit) {
				continue
			}
			w.buf[at] ^= 1 << bit
			r := w.reader()
			got := feed(r, w.buf, atOnce)
			w.buf[at] ^= 1 << bit
			var damage *record.DamageError
			isUnknownFormat := at < 2 && r.Unchecked() >= uint64(min(len(w.buf), int(w.size)))
			switch {
			case isUnknownFormat:
			case !errors.As(r.Err(), &damage):
				t.Fatalf("bit %d of byte %d flipped: error %v", bit, at, r.Err())
			case !slices.Equal(got, w.records[:len(got)]):
				t.Fatalf("bit %d of byte %d flipped: wrong records before the error", bit, at)
			}
		}
	})
}

// isFree tells whether the bit may be either way: XLP_BKP_REMOVABLE anywhere, and in the first page of a Reader
// XLP_FIRST_IS_OVERWRITE_CONTRECORD, which says something about the page before.
func isFree(at, bit int) bool {
	return at%pageSize == 2 && bit == 2 || at == 2 && bit == 3
}

// TestAnySegmentAlone: from each segment's start on, the records are the same ones.
func TestAnySegmentAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWAL(t)
		for from := 0; from < len(w.buf); from += int(w.size) {
			start := w.start + segment.LSN(from)
			r := record.NewReader(systemID, 1, w.size, start)
			got := feed(r, w.buf[from:], atOnce)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			n := slices.IndexFunc(w.records, func(c record.Record) bool { return c.LSN >= start })
			if n < 0 {
				n = len(w.records)
			}
			if !slices.Equal(got, w.records[n:]) {
				t.Fatalf("from %s (-want +got):\n%s", start, cmp.Diff(w.records[n:], got))
			}
		}
	})
}
