package record_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"walkeep/segment/record"
)

// TestCommitTime: on real WAL of each major every commit has a time of the day the fixture was made, and the beginning of a
// body is the same whether the record came in one piece or in pieces.
func TestCommitTime(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := loadFixture(t, major)
			whole, pieces := f.reader(), f.reader()
			whole.Feed(f.wal)
			commits, first, last := 0, time.Time{}, time.Time{}
			fed := 0
			for whole.Next() {
				rec, prefix := whole.Record(), whole.Prefix()
				for !pieces.Next() {
					if pieces.Err() != nil || fed == len(f.wal) {
						t.Fatalf("in pieces: %v after %d bytes", pieces.Err(), fed)
					}
					n := min(29, len(f.wal)-fed)
					pieces.Feed(f.wal[fed : fed+n])
					fed += n
				}
				if pieces.Record() != rec || !bytes.Equal(pieces.Prefix(), prefix) {
					t.Fatalf("record at %s: prefix %x in one piece, %x in pieces", rec.LSN, prefix, pieces.Prefix())
				}
				if want := min(int(rec.Length)-24, record.MaxPrefix); len(prefix) != want {
					t.Fatalf("record at %s of %d bytes: prefix of %d", rec.LSN, rec.Length, len(prefix))
				}
				at, ok := record.CommitTime(rec, prefix)
				if !ok {
					continue
				}
				if first.IsZero() {
					first = at
				}
				commits, last = commits+1, at
			}
			if whole.Err() != nil || commits < 5 {
				t.Fatalf("%d commits, %v", commits, whole.Err())
			}
			if first.Year() < 2026 || last.Year() > 2027 || last.Before(first) || last.Sub(first) > time.Hour {
				t.Errorf("commits from %s to %s", first, last)
			}
		})
	}
}
