package segment_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"walkeep/segment"
)

var testBackup = segment.BackupID{Lineage: segment.Lineage{Timeline: 1}, Start: 0x2000028, Token: 0x1a2b}

func TestBackupID(t *testing.T) {
	const text = "00000001-00000000-0000000002000028-1a2b"
	id, err := segment.ParseBackupID(text)
	if err != nil || id != testBackup || id.String() != text {
		t.Errorf("got %v, %v", id, err)
	}
	for _, bad := range []string{
		"", text[1:], text + "0", strings.ToUpper(text), strings.Replace(text, "-1a", "-1A", 1), strings.Replace(text, "0001-", "0000-", 1),
		strings.Replace(text, "-", "_", 3), "00000001-00000001-0000000002000028-1a2b",
	} {
		if id, err := segment.ParseBackupID(bad); err == nil {
			t.Errorf("%q is read as %s", bad, id)
		}
	}
}

// The bytes that docs/FORMAT.md specifies.
func TestPartIsSpecified(t *testing.T) {
	part := segment.NewPart(0x0102030405060708, testBackup, "16391.tar", 0x4000000, []byte("raw"))
	want := "572a4d18" + "58000000" + "77616c6b656570" + "02" + "0807060504030201" + "01000000" + "00000000" + "2800000200000000" +
		"2b1a000000000000" + "31363339312e74617200000000000000" + "0000000400000000" + "0300000000000000"
	got := hex.EncodeToString(part.Append(nil))
	if !strings.HasPrefix(got, want) || len(got) != 2*segment.PartSize {
		t.Errorf("got  %s\nwant %s and two hashes", got, want)
	}
}

func TestPartRoundTrip(t *testing.T) {
	encoder := segment.NewEncoder()
	rapid.Check(t, func(t *rapid.T) {
		raw := testBytes(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 300_000).Draw(t, "length"))
		part := segment.NewPart(rapid.Uint64().Draw(t, "system"), testBackup, "base.tar", rapid.Int64Range(0, 1<<50).Draw(t, "offset"), raw)
		dst := make([]byte, 0, segment.MaxEncodedPart(len(raw)))
		object, err := encoder.EncodePart(dst, part, raw)
		if err != nil || cap(object) != cap(dst) {
			t.Fatalf("grew to %d of %d: %v", cap(object), cap(dst), err)
		}
		out, got, err := segment.DecodePart([]byte("before"), object)
		if err != nil || got != part || !bytes.Equal(out, append([]byte("before"), raw...)) {
			t.Fatalf("got %s, %v, want %s", got, err, part)
		}
		changed := bytes.Clone(object)
		changed[rapid.IntRange(0, len(object)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if out, got, err := segment.DecodePart(nil, changed); err == nil && (got != part || !bytes.Equal(out, raw)) {
			t.Fatal("a changed bit is not found")
		}
	})
}

// A WAL object is no part, and a part no WAL object.
func TestStatementsAreToldApart(t *testing.T) {
	raw := []byte("raw")
	part := segment.NewPart(1, testBackup, "base.tar", 0, raw).Append(nil)
	if _, _, err := segment.ParseStatement(part); !errors.Is(err, segment.ErrNoStatement) {
		t.Errorf("a part is read as WAL: %v", err)
	}
	wal := segment.NewStatement(1, segment.Lineage{Timeline: 1}, 0x1000000, raw).Append(nil)
	if _, _, err := segment.ParsePart(append(wal, make([]byte, 64)...)); !errors.Is(err, segment.ErrNoStatement) {
		t.Errorf("WAL is read as a part: %v", err)
	}
}

func FuzzDecodePart(f *testing.F) {
	raw := testBytes(3, 300)
	object, err := segment.NewEncoder().EncodePart(nil, segment.NewPart(1, testBackup, "base.tar", 0, raw), raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object)
	f.Add(object[:segment.PartSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		out, part, err := segment.DecodePart(nil, b)
		if err == nil && len(out) != part.Length {
			t.Fatalf("%d bytes, stated %d", len(out), part.Length)
		}
	})
}
