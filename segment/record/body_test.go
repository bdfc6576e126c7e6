package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"walkeep/segment/record"
)

const keep = 1 << 20

// decoded yields every record of real WAL with its body taken apart.
func decoded(t *testing.T, f fixture, use func(v record.Version, c record.Record, b *record.Body)) {
	t.Helper()
	r := f.reader()
	r.KeepBodies(keep)
	r.Feed(f.wal)
	var b record.Body
	for r.Next() {
		if err := b.Decode(r.Version(), r.Record(), r.Prefix()); err != nil {
			t.Fatal(err)
		}
		use(r.Version(), r.Record(), &b)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
}

// TestBodies: a body is the same whether its record came in one piece or in pieces, and its parts add up.
func TestBodies(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := loadFixture(t, major)
			whole, pieces := f.reader(), f.reader()
			whole.KeepBodies(keep)
			pieces.KeepBodies(keep)
			whole.Feed(f.wal)
			fed, cut, images := 0, 0, 0
			var b record.Body
			for whole.Next() {
				c, body := whole.Record(), whole.Prefix()
				for !pieces.Next() {
					n := min(1999, len(f.wal)-fed)
					if n == 0 {
						t.Fatal("no more pieces")
					}
					pieces = pieces.Clone()
					pieces.Feed(f.wal[fed : fed+n])
					fed += n
				}
				if want := min(int(c.Length)-24, keep); pieces.Record() != c || len(body) != want || !bytes.Equal(pieces.Prefix(), body) {
					t.Fatalf("record at %s: %d bytes in one piece, %d in pieces, want %d", c.LSN, len(body), len(pieces.Prefix()), want)
				}
				if err := b.Decode(whole.Version(), c, body); err != nil {
					t.Fatal(err)
				}
				if b.IsCut != (len(body) < int(c.Length)-24) || !b.IsCut && len(b.Main) != b.MainLength {
					t.Fatalf("record at %s: cut %v, %d of %d bytes of main data", c.LSN, b.IsCut, len(b.Main), b.MainLength)
				}
				images += b.ImageBytes()
				if b.IsCut {
					cut++
				}
			}
			if whole.Err() != nil || cut != 1 || images == 0 || int(whole.Version()) != major {
				t.Errorf("version %d, %d records cut, %d bytes of images, %v", whole.Version(), cut, images, whole.Err())
			}
		})
	}
}

// TestRowChanges: what testdata/generate.sh did to rows is what is found.
func TestRowChanges(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			type doing struct {
				kind record.ChangeKind
				rel  record.Locator
				xid  uint32
			}
			rows, byKind := map[doing]int{}, map[record.ChangeKind]int{}
			commits, restorePoint := 0, ""
			decoded(t, loadFixture(t, major), func(v record.Version, c record.Record, b *record.Body) {
				switch {
				case record.IsRowChange(c):
					var r record.RowChange
					if err := r.Decode(c, b); err != nil || r.Relation.Relation == 0 || r.Rows < 1 {
						t.Fatalf("%+v, %v", r, err)
					}
					rows[doing{r.Kind, r.Relation, c.XID}] += r.Rows
					byKind[r.Kind] += r.Rows
				case record.IsEnd(c):
					var x record.Transaction
					if err := x.Decode(v, c, b); err != nil || x.XID != c.XID {
						t.Fatalf("%+v, %v", x, err)
					}
					if x.IsCommitted {
						commits++
					}
				case record.IsRestorePoint(c):
					var p record.RestorePoint
					if err := p.Decode(c, b); err != nil {
						t.Fatal(err)
					}
					restorePoint = string(p.Name)
				}
			})
			most := map[record.ChangeKind]int{}
			for d, n := range rows {
				most[d.kind] = max(most[d.kind], n)
			}
			if most[record.Delete] != 100 || most[record.Insert] != 300 {
				t.Errorf("most rows of one relation in one transaction: %d deleted, %d inserted; want 100, 300",
					most[record.Delete], most[record.Insert])
			}
			if n := byKind[record.Update] + byKind[record.HotUpdate]; n < 1400 || commits < 700 || restorePoint != "fixture" {
				t.Errorf("%d updates, %d commits, restore point %q", n, commits, restorePoint)
			}
		})
	}
}

// TestDecodeTakesNoMemory: the index decodes every record that is received.
func TestDecodeTakesNoMemory(t *testing.T) {
	f := loadFixture(t, 17)
	r := f.reader()
	r.KeepBodies(keep)
	var b record.Body
	var change record.RowChange
	var end record.Transaction
	run := func(pos *record.Reader) {
		r = pos
		r.Feed(f.wal[:f.size])
		for r.Next() {
			c := r.Record()
			err := b.Decode(r.Version(), c, r.Prefix())
			switch {
			case err != nil:
			case record.IsRowChange(c):
				err = change.Decode(c, &b)
			case record.IsEnd(c):
				err = end.Decode(r.Version(), c, &b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	run(r)
	readers := make([]*record.Reader, 4)
	for i := range readers {
		readers[i] = f.reader()
		readers[i].KeepBodies(keep)
	}
	i := 0
	if n := testing.AllocsPerRun(len(readers)-1, func() { run(readers[i]); i++ }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCutBody: from each beginning of a body, headers are decoded as far as they are there, and no more is claimed.
func TestCutBody(t *testing.T) {
	f := loadFixture(t, 18)
	r := f.reader()
	r.KeepBodies(keep)
	r.Feed(f.wal)
	var b record.Body
	for n := 0; r.Next(); n++ {
		v, c, body := r.Version(), r.Record(), r.Prefix()
		if err := b.Decode(v, c, body); err != nil {
			t.Fatal(err)
		}
		if n%97 != 0 || b.IsCut || len(b.Blocks) == 0 {
			continue
		}
		for k := range body {
			var cut record.Body
			err := cut.Decode(v, c, body[:k])
			if err != nil {
				if !errors.Is(err, record.ErrCut) {
					t.Fatalf("%d of %d bytes: %v", k, len(body), err)
				}
				continue
			}
			if !cut.IsCut || cut.ImageBytes() != b.ImageBytes() || cut.MainLength != b.MainLength {
				t.Fatalf("%d of %d bytes: %+v", k, len(body), cut)
			}
		}
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
}

// TestDescribe: every record has a known operation, and none is described by an error.
func TestDescribe(t *testing.T) {
	for _, major := range majors {
		var line []byte
		decoded(t, loadFixture(t, major), func(v record.Version, c record.Record, b *record.Body) {
			line = record.Describe(line[:0], v, c, b)
			if s := string(line); strings.HasPrefix(s, "UNKNOWN") || strings.Contains(s, "record at") {
				t.Fatalf("%d: %s: %s", major, record.ManagerName(c.RMID), s)
			}
			if record.IsPageImage(c) && (b.ImageBytes() == 0 || !strings.Contains(string(line), " FPW")) {
				t.Fatalf("%d: %s: an image of nothing", major, line)
			}
		})
	}
}
