package record_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walkeep/segment"
	"walkeep/segment/record"
)

// mainBody is the body of a record of main data only.
func mainBody(data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{254}, uint32(len(data))), data...)
}

// words puts values together as the server's structs have them: uint8, uint16, uint32, uint64, []byte.
func words(values ...any) []byte {
	var p []byte
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			p = append(p, v...)
		case int:
			p = binary.LittleEndian.AppendUint32(p, uint32(v))
		default:
			var err error
			if p, err = binary.Append(p, binary.LittleEndian, v); err != nil {
				panic(err)
			}
		}
	}
	return p
}

func decodeMain(t *testing.T, v record.Version, rmid, info uint8, data []byte) (record.Record, *record.Body) {
	t.Helper()
	body := mainBody(data)
	c := record.Record{RMID: rmid, Info: info, XID: 77, Length: uint32(24 + len(body))}
	var b record.Body
	if err := b.Decode(v, c, body); err != nil {
		t.Fatal(err)
	}
	return c, &b
}

// TestTransactionParts: each part is found behind whichever others there are, in both sizes of dropped statistics.
func TestTransactionParts(t *testing.T) {
	type part struct {
		bit  uint32
		data []byte
	}
	at := time.Date(2026, 11, 24, 7, 0, 0, 123456000, time.UTC)
	micros := uint64(at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds())
	message := words(int8(-2), []byte{0, 0, 0}, 5, 16384, 0)
	for _, v := range []record.Version{13, 15, 18} {
		stats := words(1, 2, 5, 16384)
		wantStats := record.StatsItem{Kind: 2, Database: 5, Object: 16384}
		if v == 18 {
			stats = words(1, 2, 5, 16384, 9)
			wantStats.Object |= 9 << 32
		}
		parts := []part{
			{1 << 0, words(5, 1663)},
			{1 << 1, words(2, 78, 79)},
			{1 << 2, words(1, 1663, 5, 16384)},
			{1 << 8, stats},
			{1 << 3, words(1, message)},
			{1 << 4, words(99)},
			{1 << 7, []byte("the gid\x00")},
			{1 << 5, words(uint64(0x100002345), micros)},
		}
		for chosen := range 1 << len(parts) {
			info, data := uint32(0), []byte{}
			for i, p := range parts {
				has := chosen&(1<<i) != 0
				if p.bit == 1<<7 && info&(1<<4) == 0 || p.bit == 1<<8 && v < 15 {
					has = false // the gid comes with the two-phase xid only
				}
				if has {
					info, data = info|p.bit, append(data, p.data...)
				}
			}
			c, b := decodeMain(t, v, 1, 0x80|0x30, words(micros, info, data))
			var x record.Transaction
			if err := x.Decode(v, c, b); err != nil {
				t.Fatal(err)
			}
			has := func(bit uint32) bool { return info&bit != 0 }
			want := record.Transaction{XID: 77, IsCommitted: true, IsPrepared: true, Info: info, Time: at}
			if has(1 << 0) {
				want.Database, want.Tablespace = 5, 1663
			}
			if has(1 << 4) {
				want.XID = 99
			}
			if has(1 << 7) {
				want.GID = []byte("the gid")
			}
			if has(1 << 5) {
				want.OriginLSN, want.OriginTime = segment.LSN(0x100002345), at
			}
			lists := [4]int{x.Subxacts.Len(), x.Dropped.Len(), x.DroppedStats.Len(), x.Messages.Len()}
			for i, bit := range []uint32{1 << 1, 1 << 2, 1 << 8, 1 << 3} {
				if n := []int{2, 1, 1, 1}[i]; has(bit) != (lists[i] == n) {
					t.Fatalf("%d, parts %x: lists of %v", v, info, lists)
				}
			}
			for xid := range x.Subxacts.All() {
				if xid != 78 && xid != 79 {
					t.Errorf("subtransaction %d", xid)
				}
			}
			for s := range x.DroppedStats.All() {
				if s != wantStats {
					t.Errorf("%d: statistics of %+v, want %+v", v, s, wantStats)
				}
			}
			for m := range x.Messages.All() {
				if m != (record.Message{Kind: record.MessageRelcache, Database: 5, Relation: 16384}) {
					t.Errorf("message %+v", m)
				}
			}
			x.Subxacts, x.Dropped, x.DroppedStats, x.Messages = nil, nil, record.DroppedStats{}, nil
			if diff := cmp.Diff(want, x, cmp.AllowUnexported(record.DroppedStats{})); diff != "" {
				t.Fatalf("%d, parts %x (-want +got):\n%s", v, info, diff)
			}
		}
	}
}

// TestTooManyPromised: a list that says it is longer than the record is refused, without memory for it.
func TestTooManyPromised(t *testing.T) {
	for _, n := range []uint32{2, 1 << 28, 1<<32 - 1} {
		c, b := decodeMain(t, 17, 1, 0x80, words(uint64(1), uint32(1<<1), n, 5))
		var x record.Transaction
		if err := x.Decode(17, c, b); err == nil || errors.Is(err, record.ErrCut) {
			t.Errorf("%d subtransactions in 4 bytes: %v", n, err)
		}
		b.IsCut = true
		if err := x.Decode(17, c, b); !errors.Is(err, record.ErrCut) {
			t.Errorf("%d subtransactions of a record that was cut: %v", n, err)
		}
	}
}

// TestDeletesThatAreNone: a speculative insert that is taken back deletes no row; a row that moves is not lost.
func TestDeletesThatAreNone(t *testing.T) {
	for flags, want := range map[uint8][2]bool{0: {}, 1 << 3: {true, false}, 1 << 4: {false, true}, 0x07: {}, 0xFF: {true, true}} {
		c, b := decodeMain(t, 16, 10, 0x10, words(uint32(1234), uint16(7), uint8(0), flags))
		var r record.RowChange
		if err := r.Decode(c, b); err != nil || r.Kind != record.Delete || r.XMax != 1234 || r.Offset != 7 {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := [2]bool{r.IsSuper(), r.IsPartitionMove()}; got != want {
			t.Errorf("flags %02X: %v, want %v", flags, got, want)
		}
	}
	// The same bits of an insert mean something else.
	c, b := decodeMain(t, 16, 10, 0, words(uint16(7), uint8(0x1C)))
	var r record.RowChange
	if err := r.Decode(c, b); err != nil || r.IsSuper() || r.IsPartitionMove() || !r.IsSpeculative() || !r.IsToast() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestImageInfo: the bits of an image changed their meaning in 15.
func TestImageInfo(t *testing.T) {
	image := func(info uint8, hole bool) []byte {
		p := words(uint8(0), uint8(0x10), uint16(0), uint16(100), uint16(60), info)
		if hole {
			p = append(p, words(uint16(300))...)
		}
		return append(p, words(1663, 5, 16384, 42, make([]byte, 100))...)
	}
	tests := []struct {
		v      record.Version
		info   uint8
		hole   bool
		want   string
		method record.Compression
		apply  bool
	}{
		{14, 0x01 | 0x02, true, "", record.PGLZ, false},
		{14, 0x01 | 0x02 | 0x04, true, "", record.PGLZ, true},
		{15, 0x01 | 0x02, false, "", record.Uncompressed, true},
		{15, 0x01 | 0x04, true, "", record.PGLZ, false},
		{17, 0x01 | 0x02 | 0x08, true, "", record.LZ4, true},
		{18, 0x01 | 0x10, true, "", record.Zstd, false},
		{18, 0x01 | 0x04 | 0x08, true, "image info", 0, false},
		{18, 0x02, false, "image without a hole", 0, false},
	}
	for _, tt := range tests {
		body := image(tt.info, tt.hole)
		c := record.Record{Length: uint32(24 + len(body))}
		var b record.Body
		err := b.Decode(tt.v, c, body)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		hole := 300
		if !tt.hole {
			hole = 8192 - 100
		}
		i := b.Blocks[0].Image
		if i.Method != tt.method || i.Apply != tt.apply || i.HoleLength != hole || b.Blocks[0].Number != 42 || len(i.Data) != 100 {
			t.Errorf("%+v: %+v", tt, i)
		}
	}
}

// TestBadBodies: what PostgreSQL's reader refuses is refused.
func TestBadBodies(t *testing.T) {
	block := func(id uint8) []byte { return words(id, uint8(0), uint16(0), 1663, 5, 16384, 1) }
	for name, body := range map[string][]byte{
		"block ids go back":      slices.Concat(block(1), block(0)),
		"block id twice":         slices.Concat(block(1), block(1)),
		"block id 33":            block(33),
		"block id 251":           block(251),
		"same relation as none":  words(uint8(0), uint8(0x80), uint16(0), 1),
		"data but no flag":       words(uint8(0), uint8(0), uint16(4), 1663, 5, 16384, 1, 0),
		"flag but no data":       words(uint8(0), uint8(0x20), uint16(0), 1663, 5, 16384, 1),
		"ends within a header":   block(0)[:9],
		"more than main data":    append(mainBody([]byte("abc")), 0),
		"less than main data":    mainBody([]byte("abc"))[:7],
		"main data of 4 GB":      words(uint8(254), uint32(1<<32-1)),
		"top-level xid, version": words(uint8(252), 5),
	} {
		var b record.Body
		if err := b.Decode(13, record.Record{Length: uint32(24 + len(body))}, body); err == nil || errors.Is(err, record.ErrCut) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRealOverwrite: where a crash cut a record off, its successor says which.
func TestRealOverwrite(t *testing.T) {
	for name, v := range map[string]record.Version{"13.crash.wal.gz": 13, "18.crash.wal.gz": 18} {
		found := 0
		decoded(t, loadFixtureFile(t, name), func(got record.Version, c record.Record, b *record.Body) {
			if !record.IsOverwrite(c) {
				return
			}
			found++
			var o record.Overwrite
			if err := o.Decode(c, b); err != nil || o.Lost == 0 || o.Lost >= c.LSN || o.Time.Year() < 2026 || got != v {
				t.Errorf("%s: %+v, %v", name, o, err)
			}
		})
		if found != 1 {
			t.Errorf("%s: %d found", name, found)
		}
	}
}
