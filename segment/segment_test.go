package segment_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walkeep/segment"
)

func TestLSNRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := segment.LSN(rapid.Uint64().Draw(t, "lsn"))
		got, err := segment.ParseLSN(l.String())
		if err != nil || got != l {
			t.Fatalf("ParseLSN(%s) = %s, %v", l, got, err)
		}
	})
	for _, s := range []string{"", "/", "1", "0/", "/0", "0/1/2", "0x1/2", "+1/2", "1/ 2", "123456789/0", "0/123456789", "g/0", "1_0/2"} {
		if l, err := segment.ParseLSN(s); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", s, l)
		}
	}
}

func TestNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := segment.MinSize << rapid.IntRange(0, 10).Draw(t, "size")
		lsn := segment.LSN(rapid.Uint64().Draw(t, "lsn"))
		n := segment.NameAt(segment.Timeline(rapid.Uint32Min(1).Draw(t, "timeline")), lsn, size)
		if n.Start() != size.Start(lsn) || lsn-n.Start() != segment.LSN(size.Offset(lsn)) {
			t.Fatalf("%s starts at %s, not at the segment of %s", n, n.Start(), lsn)
		}
		got, err := segment.ParseName(n.String(), size)
		if err != nil || got != n {
			t.Fatalf("ParseName(%s) = %v, %v", n, got, err)
		}
	})
}

func TestNameKnown(t *testing.T) {
	for _, c := range []struct {
		lsn  string
		size string
		want string
	}{
		{"0/1000000", "16MB", "000000030000000000000001"},
		{"1/FF123456", "16MB", "0000000300000001000000FF"},
		{"0/1000000", "1MB", "000000030000000000000010"},
		{"2/C0000000", "1GB", "000000030000000200000003"},
	} {
		lsn, _ := segment.ParseLSN(c.lsn)
		size, err := segment.ParseSize(c.size)
		if err != nil {
			t.Fatal(err)
		}
		if got := segment.NameAt(3, lsn, size).String(); got != c.want {
			t.Errorf("segment of %s (%s): %s, want %s", c.lsn, c.size, got, c.want)
		}
	}
	for _, s := range []string{"000000000000000000000001", "000000010000000000000100", "00000001000000000000001", "00000001000000000000000a", "000000010000000000000001.partial"} {
		if n, err := segment.ParseName(s, 16<<20); err == nil {
			t.Errorf("ParseName(%q) = %v, want an error", s, n)
		}
	}
	for _, s := range []string{"16", "3MB", "2GB", "512kB", "-1MB", ""} {
		if n, err := segment.ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, n)
		}
	}
}

func TestLineage(t *testing.T) {
	a, err := segment.NewLineage(2, []byte("1\t0/3000000\tno recovery target specified\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := segment.NewLineage(2, []byte("1\t0/3000028\tno recovery target specified\n"))
	if a == b {
		t.Error("different histories, same lineage")
	}
	got, err := segment.ParseLineage(a.String())
	if err != nil || got != a {
		t.Errorf("ParseLineage(%s) = %v, %v", a, got, err)
	}
	for _, s := range []string{"", "00000002", "00000001-00000001", "00000000-00000000", "00000002-5F3A91C0", "0000000a-5f3a91c0"} {
		if l, err := segment.ParseLineage(s); err == nil {
			t.Errorf("ParseLineage(%q) = %v, want an error", s, l)
		}
	}
}

func TestParseHistory(t *testing.T) {
	got, err := segment.ParseHistory([]byte("1\t0/3000000\tno recovery target specified\n\n# comment\n5\t0/5000028\tbefore 2000\n"))
	want := []segment.Fork{{Timeline: 1, Switch: 0x3000000}, {Timeline: 5, Switch: 0x5000028}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"x\t0/1\t", "1", "2\t0/2\t\n1\t0/3\t", "1\t0/5\t\n2\t0/3\t", "0\t0/1\t"} {
		if f, err := segment.ParseHistory([]byte(s)); err == nil {
			t.Errorf("ParseHistory(%q) = %v, want an error", s, f)
		}
	}
}

func testBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := 0; i < n; {
		run := min(1+r.IntN(200), n-i)
		if r.IntN(2) == 0 {
			for j := range run {
				b[i+j] = byte(r.Uint32())
			}
		}
		i += run
	}
	return b
}

func TestCodecRoundTrip(t *testing.T) {
	enc := segment.NewEncoder()
	for _, n := range []int{0, 1, 63, 64 << 10, 64<<10 + 1, 1 << 20, 3<<20 + 17} {
		raw := testBytes(uint64(n), n)
		st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0x1000000, raw)
		dst := make([]byte, 0, segment.MaxEncoded(n))
		object, err := enc.Encode(dst, st, raw)
		if err != nil {
			t.Fatal(err)
		}
		if cap(object) != cap(dst) {
			t.Errorf("%d bytes: encoding reallocated", n)
		}
		got, gotSt, err := segment.Decode([]byte("head"), object)
		if err != nil || gotSt != st || !bytes.Equal(got[4:], raw) {
			t.Fatalf("%d bytes: decode: %v", n, err)
		}
	}
}

func TestMaxEncodedHoldsRandomBytes(t *testing.T) {
	raw := make([]byte, 1<<20+5)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(raw)
	st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0, raw)
	object, err := segment.NewEncoder().Encode(nil, st, raw)
	if err != nil || len(object) > segment.MaxEncoded(len(raw)) {
		t.Fatalf("%d bytes encoded, MaxEncoded %d, %v", len(object), segment.MaxEncoded(len(raw)), err)
	}
}

// TestObjectIsSpecified: the example of docs/FORMAT.md is what Encode writes, and holds what it says there.
func TestObjectIsSpecified(t *testing.T) {
	format, err := os.ReadFile("../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(format), "newline:\n\n```\n")
	example, _, ok2 := strings.Cut(example, "```")
	want, err := hex.DecodeString(strings.Join(strings.Fields(example), ""))
	if err != nil || !ok || !ok2 {
		t.Fatalf("docs/FORMAT.md has no example of an object: %v", err)
	}
	lineage, err := segment.NewLineage(2, []byte("1\t0/2800000\tno recovery target specified\n"))
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte("forty-two bytes that stand for WAL, more or")
	st, _, err := segment.ParseStatement(want)
	if err != nil || st != segment.NewStatement(st.SystemID, lineage, 0x3000100, raw) {
		t.Fatalf("the example states %s, %v", st, err)
	}
	got, err := segment.NewEncoder().Encode(nil, st, raw)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Encode writes %x, %v, specified is %x", got, err, want)
	}
	if out, _, err := segment.Decode(nil, want); err != nil || !bytes.Equal(out, raw) {
		t.Errorf("the example holds %q, %v", out, err)
	}
}

// TestS43AnyBitFlip: whatever bit of a stored object is flipped, Decode refuses.
func TestS43AnyBitFlip(t *testing.T) {
	raw := testBytes(7, 1500)
	st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0x1000000, raw)
	object, err := segment.NewEncoder().Encode(nil, st, raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(object) * 8 {
		bad := bytes.Clone(object)
		bad[i/8] ^= 1 << (i % 8)
		if got, gotSt, err := segment.Decode(nil, bad); err == nil && (gotSt != st || !bytes.Equal(got, raw)) {
			t.Fatalf("bit %d flipped: decoded to other bytes", i)
		}
	}
	for n := range len(object) {
		if _, _, err := segment.Decode(nil, object[:n]); err == nil {
			t.Fatalf("decoded from the first %d of %d bytes", n, len(object))
		}
	}
	if _, _, err := segment.Decode(nil, append(bytes.Clone(object), 0)); err == nil {
		t.Fatal("decoded with a byte too many")
	}
}

// TestStockLZ4 checks the promise that no walkeep is needed to get the data out.
func TestStockLZ4(t *testing.T) {
	lz4, err := exec.LookPath("lz4")
	if err != nil {
		t.Fatalf("lz4 is not installed, run make deps: %v", err)
	}
	raw := testBytes(9, 1<<20)
	st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0x1000000, raw)
	object, err := segment.NewEncoder().Encode(nil, st, raw)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lz4, "-d", "-c")
	cmd.Stdin = bytes.NewReader(object)
	out, err := cmd.Output()
	if err != nil || !bytes.Equal(out, raw) {
		t.Fatalf("lz4 -d: %d bytes, %v", len(out), err)
	}
}

// TestS10Assembler: messages of any length, across segment boundaries, come out as the bytes that went in.
func TestS10Assembler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = segment.MinSize
		const start = segment.LSN(5 * size)
		wal := testBytes(rapid.Uint64().Draw(t, "seed"), 3*int(size))
		a, err := segment.NewAssembler(size, start)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		var buf []byte
		for pos := 0; pos < len(wal); {
			n := min(len(wal)-pos, rapid.OneOf(rapid.IntRange(1, 3), rapid.IntRange(1, 200_000), rapid.IntRange(900_000, 2_500_000)).Draw(t, "message"))
			if err := a.Message(start+segment.LSN(pos), n); err != nil {
				t.Fatal(err)
			}
			var order *segment.OrderError
			if err := a.Message(start+segment.LSN(pos)+1, n); !errors.As(err, &order) {
				t.Fatalf("a message from elsewhere gave %v", err)
			}
			for msg := wal[pos : pos+n]; len(msg) > 0; {
				if a.Room() == nil {
					buf = make([]byte, size)
					a.Begin(buf)
				}
				k := copy(a.Room(), msg)
				msg = msg[k:]
				if a.Advance(k) {
					out = append(out, buf...)
				}
			}
			pos += n
		}
		if !bytes.Equal(out, wal) {
			t.Fatal("other bytes came out")
		}
	})
}

func FuzzDecode(f *testing.F) {
	raw := testBytes(3, 300)
	st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0x1000000, raw)
	object, err := segment.NewEncoder().Encode(nil, st, raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object)
	f.Add(object[:segment.StatementSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		out, st, err := segment.Decode(nil, b)
		if err == nil && len(out) != st.Len() {
			t.Fatalf("%d bytes, stated %d", len(out), st.Len())
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	raw := testBytes(7, 16<<20)
	enc := segment.NewEncoder()
	dst := make([]byte, 0, segment.MaxEncoded(len(raw)))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		st := segment.NewStatement(42, segment.Lineage{Timeline: 1}, 0x1000000, raw)
		if _, err := enc.Encode(dst, st, raw); err != nil {
			b.Fatal(err)
		}
	}
}
