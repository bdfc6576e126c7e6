package record_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"walkeep/segment"
	"walkeep/segment/record"
)

// Offsets in damagedWAL: a segment that begins with a record of 100 bytes, another of 100, a long one over the
// page end, a third of 100 on the last page.
const (
	firstRecord  = 40
	secondRecord = 40 + 104
	longRecord   = 40 + 2*104
	secondPage   = pageSize
	thirdPage    = 2 * pageSize
)

func damagedWAL() *writer {
	w := newWriter(oneMB)
	w.record(10, 0, 7, fill(76))
	w.record(10, 0, 7, fill(76))
	w.record(10, 0, 7, fill(2*pageSize))
	w.record(10, 0, 7, fill(76))
	return w
}

func put16(at int, v uint16) func([]byte) {
	return func(p []byte) { binary.LittleEndian.PutUint16(p[at:], v) }
}

func put32(at int, v uint32) func([]byte) {
	return func(p []byte) { binary.LittleEndian.PutUint32(p[at:], v) }
}

func put64(at int, v uint64) func([]byte) {
	return func(p []byte) { binary.LittleEndian.PutUint64(p[at:], v) }
}

// resealed makes the checksum of the record of 100 bytes at `at` right again.
func resealed(at int, change func([]byte)) func([]byte) {
	return func(p []byte) {
		change(p)
		crc := crc32.Checksum(p[at+24:at+100], castagnoli)
		binary.LittleEndian.PutUint32(p[at+20:], crc32.Update(crc, castagnoli, p[at:at+20]))
	}
}

func TestDamage(t *testing.T) {
	tests := []struct {
		name   string
		change func([]byte)
		at     int // offset of the LSN reported
		reason string
	}{
		{"no magic", put16(0, 0), 0, "page magic 0000"},
		{"magic changes", put16(secondPage, 0xD118), secondPage, "page magic D118, D110 before"},
		{"magic is unknown on a later page", put16(secondPage, 0xFFFF), secondPage, "page magic FFFF, D110 before"},
		{"unknown flag", put16(2, 0x12), 0, "page flags 0012"},
		{"no long header", put16(2, 0), 0, "page flags 0000"},
		{"long header within the segment", put16(secondPage+2, 3), secondPage, "page flags 0003"},
		{"timeline 0", put32(4, 0), 0, "page of timeline 0"},
		{"timeline of a descendant", put32(4, 2), 0, "page of timeline 2, want 1 to 1"},
		{"another page", put64(secondPage+8, 0x104000), secondPage, "page says it is at 0/104000"},
		{"padding", put32(20, 1), 0, "padding"},
		{"remaining without continuation", put32(16, 8), 0, "continues no record"},
		{"continuation without remaining", put16(2, 3), 0, "continues a record with 0 bytes"},
		{"another cluster", put64(24, 42), 0, "WAL of system 42, want 7301234567890123456"},
		{"another segment size", put32(32, 2<<20), 0, "wal_segment_size 2097152 bytes, want 1048576"},
		{"impossible page size", put32(36, 8193), 0, "page size 8193"},
		{"continuation ends", put16(secondPage+2, 0), secondPage, "continues no record but has"},
		{"continuation ends cleanly", func(p []byte) {
			put16(secondPage+2, 0)(p)
			put32(secondPage+16, 0)(p)
		}, secondPage, "page doesn't continue the record at 0/1000F8"},
		{"continuation is too long", put32(secondPage+16, 16384), secondPage, "continues a record with 16384 bytes, want"},
		{"continued and overwritten", put16(secondPage+2, 9), secondPage, "both continues and overwrites"},
		{"length 0", put32(secondRecord, 0), secondRecord, "record length 0, as if WAL ended here"},
		{"length 23", put32(secondRecord, 23), secondRecord, "record length 23 bytes"},
		{"length over 1 GB", put32(secondRecord, 1<<30+1), secondRecord, "record length 1073741825 bytes"},
		{"checksum", put32(secondRecord+20, 0), secondRecord, "record checksum"},
		{"body", put32(secondRecord+50, 0), secondRecord, "record checksum"},
		{"body behind the page end", put32(thirdPage-4, 0xFEFEFEFE), longRecord, "record checksum"},
		{
			"previous record", resealed(secondRecord, put64(secondRecord+8, 0x100030)), secondRecord,
			"previous record at 0/100030, want 0/100028",
		},
		{
			"previous record of the first", resealed(firstRecord, put64(firstRecord+8, 0x100000)), firstRecord,
			"previous record at 0/100000, want one before 0/100000",
		},
		{
			"resource manager", resealed(secondRecord, func(p []byte) { p[secondRecord+17] = 22 }), secondRecord,
			"resource manager 22",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := damagedWAL()
			tt.change(w.buf)
			for _, piece := range []int{1, 1 << 20} {
				r := w.reader()
				feed(r, w.buf, func(int) int { return piece })
				expectDamage(t, r, w.start+segment.LSN(tt.at), tt.reason)
			}
		})
	}
}

func expectDamage(t *testing.T, r *record.Reader, lsn segment.LSN, reason string) {
	t.Helper()
	var damage *record.DamageError
	if !errors.As(r.Err(), &damage) {
		t.Fatalf("error %v, want damage at %s: %s", r.Err(), lsn, reason)
	}
	if damage.LSN != lsn || !strings.Contains(damage.Reason, reason) {
		t.Errorf("%v, want damage at %s: %s", damage, lsn, reason)
	}
	r.Feed(make([]byte, 10))
	if r.Next() || !errors.Is(r.Err(), damage) {
		t.Errorf("goes on after %v", damage)
	}
}

func TestDamageAtPageStart(t *testing.T) {
	w := newWriter(oneMB)
	w.record(10, 0, 1, fill(pageSize-40-24)) // ends with its page
	w.record(10, 0, 1, fill(10))
	for flags, reason := range map[uint16]string{
		1: "continues a record that had ended before it",
		8: "overwrites a record that had ended before it",
	} {
		put16(pageSize+2, flags)(w.buf)
		put32(pageSize+16, uint32(flags&1))(w.buf)
		r := w.reader()
		feed(r, w.buf, atOnce)
		expectDamage(t, r, w.start+pageSize, reason)
	}
}

func TestCustomResourceManagerBefore15(t *testing.T) {
	for magic, want := range map[uint16]string{magic14: "resource manager 128", magic15: ""} {
		w := newWriter(oneMB)
		w.magic = magic
		w.record(10, 0, 1)
		c := w.record(128, 0, 1)
		r := w.reader()
		feed(r, w.buf, atOnce)
		if want != "" {
			expectDamage(t, r, c.LSN, want)
		} else if r.Err() != nil {
			t.Error(r.Err())
		}
	}
}

func TestBytesBehindSwitch(t *testing.T) {
	w := newWriter(oneMB)
	w.record(10, 0, 1)
	w.switchSegment()
	w.record(10, 0, 1)
	r := w.reader()
	if got := feed(r, w.buf, atOnce); r.Err() != nil || len(got) != 3 {
		t.Fatalf("%d records, error %v", len(got), r.Err())
	}
	for _, at := range []int{100, pageSize, pageSize + 1, int(oneMB) - 1} {
		for _, piece := range []int{7, 1 << 20} {
			w.buf[at] = 1
			r := w.reader()
			feed(r, w.buf, func(int) int { return piece })
			w.buf[at] = 0
			expectDamage(t, r, w.start+segment.LSN(at), "not zero behind the last record")
		}
	}
}

// TestOnesBehindSwitch: bytes that are all the same aren't zeros for that.
func TestOnesBehindSwitch(t *testing.T) {
	w := newWriter(oneMB)
	w.switchSegment()
	for i := 64; i < len(w.buf); i++ {
		w.buf[i] = 0xFF
	}
	r := w.reader()
	feed(r, w.buf, atOnce)
	expectDamage(t, r, w.start+64, "not zero behind the last record")
}

// TestSwitchAtSegmentEnd: a switch that fills its segment has no zeros behind it.
func TestSwitchAtSegmentEnd(t *testing.T) {
	for _, piece := range []int{5, 1 << 21} {
		w := newWriter(oneMB)
		w.record(10, 0, 1, fill(int(oneMB)-40-24*(int(oneMB)/pageSize-1)-24-24))
		w.switchSegment()
		w.record(10, 0, 1, fill(10))
		r := w.reader()
		got := feed(r, w.buf, func(int) int { return piece })
		if r.Err() != nil || !slices.Equal(got, w.records) || got[1].End != w.start+segment.LSN(oneMB) {
			t.Errorf("%v, error %v", got, r.Err())
		}
	}
}

// TestFormatChanges: a format once known doesn't become unknown within a stream.
func TestFormatChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		change func([]byte)
		reason string
	}{
		"magic":     {put16(int(oneMB), 0xD11B), "page magic D11B, D110 before"},
		"page size": {put32(int(oneMB)+36, 4096), "page size 4096 bytes, want 8192"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(oneMB)
			w.record(10, 0, 1, fill(1<<20))
			tt.change(w.buf)
			r := w.reader()
			feed(r, w.buf, atOnce)
			expectDamage(t, r, w.start+segment.LSN(oneMB), tt.reason)
		})
	}
}

// TestTimelines: a new timeline's first segment begins with pages of the old one, which never come back.
func TestTimelines(t *testing.T) {
	w := newWriter(oneMB)
	w.record(10, 0, 1, fill(2*pageSize))
	w.timeline = 3
	w.record(10, 0, 1, fill(2*pageSize))
	r := w.reader()
	if feed(r, w.buf, atOnce); r.Err() != nil {
		t.Fatal(r.Err())
	}
	w.timeline = 2
	w.record(10, 0, 1, fill(2*pageSize))
	r = record.NewReader(systemID, 3, w.size, w.start)
	feed(r, w.buf, atOnce)
	expectDamage(t, r, w.start+5*pageSize, "page of timeline 2, want 3 to 3")
}
