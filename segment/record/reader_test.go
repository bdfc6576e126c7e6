package record_test

import (
	"runtime"
	"slices"
	"testing"

	"walkeep/segment"
	"walkeep/segment/record"
)

func TestPending(t *testing.T) {
	w := newWriter(oneMB)
	w.record(10, 0, 1, fill(70))
	long := w.record(10, 0, 1, fill(3*pageSize))
	r := w.reader()
	for at, b := range w.buf {
		start, ok := r.Pending()
		pos := w.start + segment.LSN(at)
		inFirst := at > 40 && at < 40+94
		inLong := pos > long.LSN && pos < long.LSN+segment.LSN(long.Length)+3*24
		if ok != (inFirst || inLong) || ok && inLong && start != long.LSN {
			t.Fatalf("at %s: pending %s, %v", pos, start, ok)
		}
		feed(r, []byte{b}, atOnce)
	}
	if start, ok := r.Pending(); ok || r.Err() != nil {
		t.Errorf("at the end: pending from %s, error %v", start, r.Err())
	}
}

// TestHeadNeverHad: the rest of a record that began before is passed over, over whole pages and segments too.
func TestHeadNeverHad(t *testing.T) {
	w := newWriter(oneMB)
	w.record(10, 0, 1, fill(2<<20+12345))
	next := w.record(10, 0, 1, fill(10))
	for n := 1; n <= 2; n++ {
		start := w.start + segment.LSN(n)*segment.LSN(oneMB)
		r := record.NewReader(systemID, 1, oneMB, start)
		wal := w.buf[n<<20:]
		got := feed(r, wal[:60], atOnce)
		if lsn, ok := r.Pending(); !ok || lsn != 0 {
			t.Errorf("from %s: pending %s, %v, want an unknown start", start, lsn, ok)
		}
		got = append(got, feed(r, wal[60:], atOnce)...)
		if r.Err() != nil || !slices.Equal(got, []record.Record{next}) {
			t.Fatalf("from %s: %v, error %v", start, got, r.Err())
		}
		headers := uint64(40 + 24*((len(wal)-1)/pageSize))
		if n == 1 {
			headers += 16
		}
		alignment := uint64(next.LSN - w.ends[0])
		if want := uint64(len(wal)) - headers - alignment - 40; r.Unchecked() != want {
			t.Errorf("from %s: %d bytes unchecked, want %d", start, r.Unchecked(), want)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	for name, change := range map[string]func([]byte){
		"magic of a later version": put16(0, 0xD11B),
		"other page size":          put32(36, 32<<10),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(oneMB)
			w.record(10, 0, 1, fill(2<<20+100))
			last := w.record(10, 0, 1, fill(100))
			change(w.buf)
			for i := pageSize; i < int(oneMB); i++ {
				w.buf[i] = 0xAA
			}
			for _, piece := range []int{333, 1 << 22} {
				r := w.reader()
				got := feed(r, w.buf, func(int) int { return piece })
				if r.Err() != nil || !slices.Equal(got, []record.Record{last}) {
					t.Fatalf("%d records, error %v", len(got), r.Err())
				}
				if r.Unchecked() < 2<<20 {
					t.Errorf("%d bytes unchecked", r.Unchecked())
				}
			}
		})
	}
}

func TestPadding(t *testing.T) {
	build := func(bodies ...int) *writer {
		w := newWriter(oneMB)
		for _, n := range bodies {
			w.record(10, 0, 1, fill(n))
		}
		return w
	}
	for name, tt := range map[string]struct {
		w       *writer
		cut     int // how many bytes of it came
		records int
	}{
		"behind a record":                {build(100), 168, 1},
		"behind a page":                  {build(pageSize - 64), pageSize, 1},
		"in a record, at the page's end": {build(100, 20000), pageSize, 1},
		"nothing there":                  {build(), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			padded := append(tt.w.buf[:tt.cut:tt.cut], make([]byte, int(oneMB)-tt.cut)...)
			strict := tt.w.reader()
			if feed(strict, padded, atOnce); strict.Err() == nil {
				t.Error("accepted without AllowPadding")
			}
			next := newWriter(oneMB)
			next.start += segment.LSN(oneMB)
			next.prev = tt.w.start // which WAL this was is not known
			next.record(10, 0, 1, fill(50))
			wal := slices.Concat(padded, next.buf)
			for _, piece := range []int{1000, 1 << 22} {
				r := tt.w.reader()
				r.AllowPadding()
				got := feed(r, wal, func(int) int { return piece })
				if _, ok := r.Pending(); ok || r.Err() != nil || len(got) != tt.records+1 {
					t.Errorf("%d records, error %v", len(got), r.Err())
				}
			}
			padded[int(oneMB)-1] = 1
			r := tt.w.reader()
			r.AllowPadding()
			feed(r, padded, atOnce)
			expectDamage(t, r, tt.w.start+segment.LSN(oneMB)-1, "not zero")
		})
	}
}

// TestCloneResumes: after damage the stream is fed again from a Clone, and the original is not disturbed.
func TestCloneResumes(t *testing.T) {
	w := newWriter(oneMB)
	long := w.record(10, 0, 1, fill(2<<20))
	w.record(10, 0, 1, fill(10))
	r := w.reader()
	if err := r.Check(w.buf[:oneMB]); err != nil {
		t.Fatal(err)
	}
	again := r.Clone()
	bad := slices.Clone(w.buf[oneMB:])
	bad[5000] ^= 1
	if err := r.Check(bad); err == nil {
		t.Fatal("damage not seen")
	}
	got := feed(again, w.buf[oneMB:], atOnce)
	if again.Err() != nil || len(got) != 2 || got[0] != long {
		t.Errorf("%v, error %v", got, again.Err())
	}
}

// TestCloneBetweenRecords: a Clone goes on at Position, also where not everything fed is consumed.
func TestCloneBetweenRecords(t *testing.T) {
	w := damagedWAL()
	r := w.reader()
	r.Feed(w.buf)
	for i := 0; r.Next(); i++ {
		c := r.Clone()
		got := feed(c, w.buf[c.Position()-w.start:], atOnce)
		if !slices.Equal(got, w.records[i+1:]) {
			t.Errorf("after record %d: %v", i, got)
		}
	}
}

// TestRecordOf200MB: a record over 13 segments costs no memory (scenario S57).
func TestRecordOf200MB(t *testing.T) {
	size := segment.Size(16 << 20)
	w := newWriter(size)
	r := w.reader()
	var allocated uint64
	var found []record.Record
	segments := 0
	w.flush = func(p []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.Feed(p)
		for r.Next() {
			found = append(found, r.Record())
		}
		runtime.ReadMemStats(&after)
		allocated += after.TotalAlloc - before.TotalAlloc
		segments++
	}
	w.record(10, 0, 1, fill(100))
	chunk := fill(1 << 20)
	w.record(21, 0, 1, slices.Repeat([][]byte{chunk}, 200)...)
	w.record(10, 0, 1, fill(10))
	w.switchSegment()
	if r.Err() != nil || !slices.Equal(found, w.records) {
		t.Errorf("%v, want %v, error %v", found, w.records, r.Err())
	}
	if segments != 13 {
		t.Errorf("%d segments, want 13", segments)
	}
	if allocated > 100<<10 {
		t.Errorf("%d bytes allocated", allocated)
	}
}

func TestNoAllocations(t *testing.T) {
	f := loadFixture(t, 15)
	allocations := testing.AllocsPerRun(3, func() {
		if err := f.reader().Check(f.wal); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 1 { // the Reader itself
		t.Errorf("%v allocations", allocations)
	}
}

func TestMisuse(t *testing.T) {
	for name, misuse := range map[string]func(){
		"start within a segment": func() { record.NewReader(systemID, 1, oneMB, segment.LSN(oneMB)+pageSize) },
		"Feed before the end": func() {
			r := damagedWAL().reader()
			r.Feed([]byte{1})
			r.Feed([]byte{2})
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			misuse()
		})
	}
}
