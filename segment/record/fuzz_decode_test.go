package record_test

import (
	"bytes"
	"errors"
	"testing"

	"walkeep/segment/record"
)

// FuzzDecode: whatever a body holds, and wherever it is cut, decoding ends, takes what the input can explain, and gives
// nothing that is not in it.
func FuzzDecode(f *testing.F) {
	for _, major := range []int{13, 18} {
		seen := map[[2]uint8]bool{}
		fix := loadFixture(f, major)
		r := fix.reader()
		r.KeepBodies(keep)
		r.Feed(fix.wal)
		for r.Next() {
			c := r.Record()
			if key := [2]uint8{c.RMID, c.Info}; !seen[key] && c.Length < 2000 {
				seen[key] = true
				f.Add(uint8(major), c.RMID, c.Info, uint16(0), bytes.Clone(r.Prefix()))
			}
		}
	}
	f.Fuzz(func(t *testing.T, version, rmid, info uint8, cut uint16, body []byte) {
		v := record.Version(13 + version%6)
		c := record.Record{LSN: 0x1000028, RMID: rmid, Info: info, XID: 7, Length: uint32(24 + len(body) + int(cut))}
		var b record.Body
		err := b.Decode(v, c, body)
		if err != nil && errors.Is(err, record.ErrCut) && cut == 0 {
			t.Fatalf("cut, but it is whole: %v", err)
		}
		if len(b.Blocks) > 33 || cap(b.Blocks) > 64 {
			t.Fatalf("%d blocks, room for %d", len(b.Blocks), cap(b.Blocks))
		}
		if err != nil {
			return
		}
		total := len(b.Main)
		for _, k := range b.Blocks {
			total += len(k.Image.Data) + len(k.Data)
		}
		if total > len(body) || b.IsCut != (cut > 0) || len(b.Main) > b.MainLength {
			t.Fatalf("%d bytes of %d, cut %v, main data %d of %d", total, len(body), b.IsCut, len(b.Main), b.MainLength)
		}
		// The longest text is of a list of ids, four bytes each.
		if text := record.Describe(nil, v, c, &b); len(text) > 4096+16*len(body) {
			t.Fatalf("%d bytes described in %d", len(body), len(text))
		}
		if record.IsEnd(c) {
			checkLists(t, v, c, &b)
		}
	})
}

// checkLists: what a transaction's lists say of their length is what they yield.
func checkLists(t *testing.T, v record.Version, c record.Record, b *record.Body) {
	var x record.Transaction
	if x.Decode(v, c, b) != nil {
		return
	}
	var n [4]int
	for range x.Subxacts.All() {
		n[0]++
	}
	for range x.Dropped.All() {
		n[1]++
	}
	for range x.DroppedStats.All() {
		n[2]++
	}
	for range x.Messages.All() {
		n[3]++
	}
	if want := [4]int{x.Subxacts.Len(), x.Dropped.Len(), x.DroppedStats.Len(), x.Messages.Len()}; n != want {
		t.Fatalf("lists yield %v, say %v", n, want)
	}
}
