package record_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walkeep/segment"
	"walkeep/segment/record"
)

var majors = []int{13, 14, 15, 16, 17, 18}

// rmgrNames are the names of access/rmgrlist.h, by RMID.
var rmgrNames = strings.Fields("XLOG Transaction Storage CLOG Database Tablespace MultiXact RelMap Standby Heap2 Heap Btree " +
	"Hash Gin Gist Sequence SPGist BRIN CommitTs ReplicationOrigin Generic LogicalMessage")

// A fixture is WAL that a real server wrote: see testdata/generate.sh.
type fixture struct {
	systemID uint64
	size     segment.Size
	start    segment.LSN
	wal      []byte
}

func loadFixture(tb testing.TB, major int) fixture {
	tb.Helper()
	return loadFixtureFile(tb, fmt.Sprintf("%d.wal.gz", major))
}

func loadFixtureFile(tb testing.TB, name string) fixture {
	tb.Helper()
	wal := gunzip(tb, name)
	return fixture{
		systemID: binary.LittleEndian.Uint64(wal[24:]),
		size:     segment.Size(binary.LittleEndian.Uint32(wal[32:])),
		start:    segment.LSN(binary.LittleEndian.Uint64(wal[8:])),
		wal:      wal,
	}
}

func (f fixture) reader() *record.Reader {
	return record.NewReader(f.systemID, 1, f.size, f.start)
}

func gunzip(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// feed feeds all of wal in pieces whose size next chooses, and returns the records found.
func feed(r *record.Reader, wal []byte, next func(rest int) int) []record.Record {
	var found []record.Record
	for len(wal) > 0 {
		n := min(next(len(wal)), len(wal))
		r.Feed(wal[:n])
		for r.Next() {
			found = append(found, r.Record())
		}
		if r.Err() != nil {
			return found
		}
		wal = wal[n:]
	}
	return found
}

func atOnce(rest int) int { return rest }

// line writes a record like testdata/*.records.gz.
func line(c record.Record) string {
	return fmt.Sprintf("%s %s %s %d %s %d", c.LSN, c.End, c.Prev, c.XID, rmgrNames[c.RMID], c.Length)
}

func TestRealWAL(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := loadFixture(t, major)
			r := f.reader()
			records := feed(r, f.wal, atOnce)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			if want := f.start + segment.LSN(len(f.wal)); r.Position() != want {
				t.Errorf("position %s, want %s", r.Position(), want)
			}
			if start, ok := r.Pending(); ok {
				t.Errorf("pending from %s", start)
			}
			if r.Unchecked() != 0 {
				t.Errorf("%d bytes unchecked", r.Unchecked())
			}
			if len(records) < 3000 {
				t.Fatalf("only %d records", len(records))
			}
			if major >= 15 {
				compareWithServer(t, major, records)
			}
			for i, c := range records[1:] {
				if before := records[i]; c.Prev != before.LSN || c.LSN < before.End {
					t.Fatalf("record %+v follows %+v", c, before)
				}
			}
			small := f.reader()
			random := rand.New(rand.NewPCG(1, uint64(major)))
			pieces := feed(small, f.wal, func(int) int { return 1 + random.IntN(1+random.IntN(20000)) })
			if err := small.Err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(records, pieces); diff != "" {
				t.Errorf("in pieces (-at once +pieces):\n%s", diff)
			}
		})
	}
}

func compareWithServer(t *testing.T, major int, records []record.Record) {
	t.Helper()
	want := strings.Split(strings.TrimSpace(string(gunzip(t, fmt.Sprintf("%d.records.gz", major)))), "\n")
	var got []string
	for _, c := range records {
		got = append(got, line(c))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-pg_walinspect +got):\n%s", diff)
	}
}

// TestRealWALByteByByte: around the start of each segment every boundary lies between two pieces once.
func TestRealWALByteByByte(t *testing.T) {
	for _, major := range majors {
		f := loadFixture(t, major)
		r := f.reader()
		const near = 3 * pageSize
		one := feed(r, f.wal, func(rest int) int {
			offset := (len(f.wal) - rest) % int(f.size)
			if offset < near || offset >= int(f.size)-near {
				return 1
			}
			return int(f.size) - near - offset
		})
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(feed(f.reader(), f.wal, atOnce), one); diff != "" {
			t.Errorf("%d byte by byte (-at once +got):\n%s", major, diff)
		}
	}
}

// TestRealWALAnySegmentAlone: a Reader may begin at each segment, the inside of a long record included.
func TestRealWALAnySegmentAlone(t *testing.T) {
	for _, major := range majors {
		f := loadFixture(t, major)
		all := feed(f.reader(), f.wal, atOnce)
		var skipped uint64
		for from := int(f.size); from < len(f.wal); from += int(f.size) {
			start := f.start + segment.LSN(from)
			r := record.NewReader(f.systemID, 1, f.size, start)
			got := feed(r, f.wal[from:], atOnce)
			if err := r.Err(); err != nil {
				t.Fatalf("%d from %s: %v", major, start, err)
			}
			want := all
			for len(want) > 0 && want[0].LSN < start {
				want = want[1:]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d from %s (-want +got):\n%s", major, start, diff)
			}
			skipped += r.Unchecked()
		}
		if skipped == 0 {
			t.Errorf("%d: no record passed over, the fixture lacks one that crosses segments", major)
		}
	}
}

// TestRealCrash: the server was killed within a record, and its WAL goes on with XLOG_OVERWRITE_CONTRECORD.
func TestRealCrash(t *testing.T) {
	for _, major := range []int{13, 18} {
		f := loadFixtureFile(t, fmt.Sprintf("%d.crash.wal.gz", major))
		r := f.reader()
		records := feed(r, f.wal, atOnce)
		if err := r.Err(); err != nil {
			t.Fatalf("%d: %v", major, err)
		}
		at := slices.IndexFunc(records, func(c record.Record) bool { return c.RMID == 0 && c.Info == 0xD0 })
		if at < 0 || at == len(records)-1 {
			t.Fatalf("%d: overwriting record is number %d of %d", major, at, len(records))
		}
		begin := f.start
		if at > 0 {
			begin = records[at-1].End
		}
		lost, payload := records[at].LSN-begin, uint64(pageSize-24)
		if got := r.Unchecked(); got > uint64(lost) || got < uint64(lost)/pageSize*payload*99/100 {
			t.Errorf("%d: %d bytes unchecked, the lost record's pages take %d", major, got, lost)
		}
	}
}
