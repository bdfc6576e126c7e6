package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"

	"walkeep/catalog"
	"walkeep/segment"
)

var first = segment.Lineage{Timeline: 1}

func TestPushStoresOnce(t *testing.T) {
	for _, major := range []int{13, 18} {
		p, w := newPushTest(t), loadWAL(t, major)
		dir := t.TempDir()
		w.write(t, dir, 0, len(w.names))
		if s := p.pushJSON(exitOK, dir); s.Stored != len(w.names) || len(s.Missing) != 0 {
			t.Errorf("first time: %+v", s)
		}
		if s := p.pushJSON(exitOK, dir); s.Present != len(w.names) || s.Stored != 0 {
			t.Errorf("second time: %+v", s)
		}
		p.holds(w, first, 0, len(w.names))
	}
}

// archive_command calls push once for each file, and its output goes to the server's log.
func TestPushOneFileIsQuiet(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	dir := t.TempDir()
	for i, path := range w.write(t, dir, 0, len(w.names)) {
		if got := p.push(exitOK, path); got.stdout+got.stderr != "" {
			t.Errorf("file %d: %q", i, got.stdout+got.stderr)
		}
	}
	p.holds(w, first, 0, len(w.names))
}

// Only the head of the first segment can't be checked: the segment before is read again from the archive.
func TestPushChecksRecordsAcrossSegments(t *testing.T) {
	w := makeWAL(3)
	last := len(w.names) - 1
	damaged := append([]byte(nil), w.raw[last]...)
	damaged[44] ^= 1 // in the rest of the record that crosses into this segment
	dir := t.TempDir()
	for _, together := range []bool{true, false} {
		p := newPushTest(t)
		paths := append(w.write(t, dir, last-1, last), writeFile(t, dir, w.names[last].String(), damaged))
		if together {
			got := p.push(exitFailure, paths...)
			mustContain(t, got.stderr, "WAL damaged at", "checksum")
		} else {
			p.push(exitOK, paths[0])
			got := p.push(exitFailure, paths[1])
			mustContain(t, got.stderr, w.names[last].String()+" is refused", "WAL damaged at", "checksum")
			if strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("more than a line: %q", got.stderr)
			}
		}
		p.holds(w, first, last-1, last)
	}
	p := newPushTest(t)
	if s := p.pushJSON(exitOK, w.write(t, dir, last, last+1)...); s.Unchecked == 0 {
		t.Error("the head of a first segment counts as checked")
	}
}

func TestPushRefusesWhatIsNoSegment(t *testing.T) {
	w, other := loadWAL(t, 15), loadWAL(t, 16)
	change := func(offset int, bit byte) []byte {
		raw := append([]byte(nil), w.raw[0]...)
		raw[offset] ^= bit
		return raw
	}
	for name, test := range map[string]struct {
		raw  []byte
		says string
	}{
		"truncated":           {w.raw[0][:1<<19], "has 524288 bytes"},
		"empty":               {nil, "has 0 bytes"},
		"too long":            {append(change(0, 0), 0), "more than the 1048576 bytes"},
		"the next one":        {w.raw[1], "holds WAL at"},
		"another cluster":     {other.raw[1], "another cluster"},
		"magic":               {change(0, 0x40), "first page has magic"},
		"magic of another":    {change(0, 0x03), "magic"},
		"page address":        {change(8192+8, 1), "says it is at"},
		"system identifier":   {change(24, 1), "another cluster"},
		"segment size":        {change(34, 0x20), "wal_segment_size"},
		"timeline of a page":  {change(8192*3+4, 3), "is of timeline 2"},
		"a record":            {change(8192*5+100, 0x10), "WAL damaged at"},
		"zeros":               {make([]byte, segment.MinSize), "another cluster"},
		"zeros from the half": {append(append([]byte(nil), w.raw[0][:1<<19]...), make([]byte, 1<<19)...), "WAL damaged at"},
	} {
		t.Run(name, func(t *testing.T) {
			p, dir := newPushTest(t), t.TempDir()
			p.catalog(w)
			got := p.push(exitFailure, writeFile(t, dir, w.names[0].String(), test.raw))
			mustContain(t, got.stderr, test.says)
			p.holds(w, first, 0, 0)
			p.push(exitOK, w.write(t, dir, 0, 1)...) // the archiver tries again, and the disk has recovered
			p.holds(w, first, 0, 1)
		})
	}
}

// What only the files say may be a mistake: the repository gets no second cluster by it.
func TestPushAddsNoClusterByMistake(t *testing.T) {
	p, w, other := newPushTest(t), loadWAL(t, 15), loadWAL(t, 16)
	dir := t.TempDir()
	p.push(exitOK, w.write(t, dir, 0, 1)...)
	path := other.write(t, dir, 1, 2)[0]
	mustContain(t, p.push(exitFailure, path).stderr, "another cluster", "--system-id")
	p.push(exitOK, "--system-id", segmentID(other), path)
	p.holds(other, first, 1, 2)
	// Nor does a file that is no WAL begin one.
	empty := newPushTest(t)
	mustContain(t, empty.push(exitFailure, writeFile(t, dir, w.names[2].String(), make([]byte, segment.MinSize))).stderr, "no such cluster")
}

func TestPushCompressed(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	dir := t.TempDir()
	var zip, l bytes.Buffer
	gz, lz := gzip.NewWriter(&zip), lz4.NewWriter(&l)
	for w, raw := range map[interface {
		Write([]byte) (int, error)
		Close() error
	}][]byte{gz: w.raw[0], lz: w.raw[1]} {
		if _, err := w.Write(raw); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir, w.names[0].String()+".gz", zip.Bytes())
	writeFile(t, dir, w.names[1].String()+".lz4", l.Bytes())
	if s := p.pushJSON(exitOK, dir); s.Stored != 2 {
		t.Errorf("%+v", s)
	}
	p.holds(w, first, 0, 2)
	name := w.names[2].String()
	mustContain(t, p.push(exitFailure, writeFile(t, dir, name+".zst", []byte("x"))).stderr, ".zst", "decompress it first")
	mustContain(t, p.push(exitFailure, writeFile(t, dir, name+".gz", zip.Bytes()[:1000])).stderr, "unexpected EOF")
	bomb := bytes.Buffer{}
	gz = gzip.NewWriter(&bomb)
	if _, err := gz.Write(make([]byte, 64<<20)); err != nil || gz.Close() != nil {
		t.Fatal(err)
	}
	mustContain(t, p.push(exitFailure, writeFile(t, dir, name+".gz", bomb.Bytes())).stderr, "more than the 1048576 bytes")
}

// archive_command must not stall on what no restore needs, not even without storage.
func TestPushSkipsWhatIsNotNeeded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"000000010000000000000003.00000028.backup", "000000010000000000000003.partial"} {
		got := walkeep(t.Context(), nil, "push", "--repo", "s3://", writeFile(t, dir, name, nil))
		if got.code != exitOK || !strings.Contains(got.stdout, "not needed") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := walkeep(t.Context(), nil, "push", "--repo", "file:///nowhere", writeFile(t, dir, "passwd", nil))
	if got.code != exitFailure {
		t.Errorf("a file of another name: %+v", got)
	}
}

func TestPushFindsOtherBytes(t *testing.T) {
	w := loadWAL(t, 15)
	dir := t.TempDir()
	paths := w.write(t, dir, 0, 3)
	foreign := append([]byte(nil), w.raw[1]...)
	foreign[500_000] ^= 1
	t.Run("segment", func(t *testing.T) {
		p := newPushTest(t)
		c := p.catalog(w)
		s := segment.NewStatement(w.systemID, first, w.names[1].Start(), foreign)
		object, err := segment.NewEncoder().Encode(nil, s, foreign)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PutSegment(t.Context(), w.names[1], s, object); err != nil {
			t.Fatal(err)
		}
		mustContain(t, p.push(exitFailure, paths[1]).stderr, "other WAL", w.names[1].String(), "overwrites neither")
		if got, err := c.Segment(t.Context(), first, w.names[1], nil); err != nil || !bytes.Equal(got, foreign) {
			t.Errorf("what was stored has changed: %v", err)
		}
		if s := p.pushJSON(exitFailure, paths...); s.Stored != 2 || s.Refused != 1 {
			t.Errorf("%+v", s)
		}
	})
	for name, raw := range map[string][]byte{"foreign tail": foreign, "own tail": w.raw[1]} {
		t.Run(name, func(t *testing.T) {
			p := newPushTest(t)
			c := p.catalog(w)
			p.push(exitOK, paths[0])
			s := segment.NewStatement(w.systemID, first, w.names[1].Start(), raw[:600_000])
			object, err := segment.NewEncoder().Encode(nil, s, raw[:600_000])
			if err != nil {
				t.Fatal(err)
			}
			if err := c.PutLink(t.Context(), w.names[1], s, object); err != nil {
				t.Fatal(err)
			}
			if name == "own tail" {
				p.push(exitOK, paths[1])
				p.holds(w, first, 0, 2)
				return
			}
			mustContain(t, p.push(exitFailure, paths[1]).stderr, "other WAL", "tail/")
			p.holds(w, first, 0, 1)
		})
	}
}

func TestPushHealsGaps(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	c, dir := p.catalog(w), t.TempDir()
	paths := w.write(t, dir, 0, 3)
	p.push(exitOK, paths[0])
	gap := catalog.Gap{
		Lineage: first, From: w.names[1].Start() + 1000, To: w.names[2].End(), Kind: catalog.GapLost,
		Reason: "the server had removed it", Detected: time.Now(),
	}
	if err := c.RecordGap(t.Context(), gap); err != nil {
		t.Fatal(err)
	}
	mustContain(t, p.run("gap", "list").stdout, "lost", w.names[1].String()+" to "+w.names[2].String()+" turn up", "gap ack")
	got := p.push(exitOK, paths[1])
	if got.stdout != "" {
		t.Errorf("half of it heals: %q", got.stdout)
	}
	mustContain(t, p.run("gap", "list").stdout, w.names[2].Start().String()+".."+w.names[2].End().String())
	mustContain(t, p.run("list").stdout, "GAP: WAL ["+w.names[2].Start().String())
	mustContain(t, p.push(exitOK, paths[2]).stdout, "gap healed: WAL ["+w.names[2].Start().String())
	mustContain(t, p.run("gap", "list").stdout, "No gaps")
	if out := p.run("list").stdout; strings.Contains(out, "GAP") {
		t.Error(out)
	}
}

// Older WAL that closes up to the archive moves its beginning back, in whatever order it comes.
func TestPushExtendsTheBeginning(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	c, dir := p.catalog(w), t.TempDir()
	paths := w.write(t, dir, 0, 3)
	for _, step := range []struct{ push, begin int }{{2, 2}, {0, 2}, {1, 0}} {
		p.push(exitOK, paths[step.push])
		begin, _, err := c.Started(t.Context(), first)
		if err != nil || begin != w.names[step.begin].Start() {
			t.Errorf("after segment %d the archive begins at %s (%v), want segment %d", step.push, begin, err, step.begin)
		}
		if end, _, err := c.Frontier(t.Context(), first); err != nil || end != w.names[2].End() {
			t.Errorf("after segment %d the Frontier is %s, %v", step.push, end, err)
		}
	}
}

func TestPushMissingBetween(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	paths := w.write(t, t.TempDir(), 0, 3)
	got := p.push(exitOK, paths[0], paths[2])
	mustContain(t, got.stderr, "contiguous only up to "+w.names[1].Start().String())
	s := p.pushJSON(exitOK, "--accept-gaps", paths[0], paths[2])
	if len(s.Missing) != 1 || !s.Missing[0].Gap || len(s.OpenGaps) != 1 {
		t.Errorf("%+v", s)
	}
	if s := p.pushJSON(exitOK, paths[1]); len(s.Healed) != 1 {
		t.Errorf("%+v", s)
	}
}

// The archiver tries again by itself: better to end soon than to hang.
func TestPushEndsWithoutStorage(t *testing.T) {
	w := loadWAL(t, 15)
	path := w.write(t, t.TempDir(), 0, 1)[0]
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "test")
	}
	begun := time.Now()
	got := walkeep(t.Context(), []string{"WALKEEP_S3_ENDPOINT=http://127.0.0.1:1"},
		"push", "--repo", "s3://bucket/p", "--wait", "300ms", path)
	if took := time.Since(begun); got.code != exitFailure || took > 10*time.Second {
		t.Errorf("exit %d after %s", got.code, took)
	}
	if got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("want one line: %q", got.stderr)
	}
}

// PostgreSQL calls push in its data directory, which says whose WAL it is.
func TestPushInDataDirectory(t *testing.T) {
	p, w, other := newPushTest(t), loadWAL(t, 15), loadWAL(t, 16)
	dir := t.TempDir()
	for _, sub := range []string{"global", "pg_wal"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	id := append([]byte(nil), w.raw[0][24:32]...)
	writeFile(t, dir, "global/pg_control", append(id, make([]byte, 100)...))
	w.write(t, filepath.Join(dir, "pg_wal"), 0, 1)
	other.write(t, filepath.Join(dir, "pg_wal"), 1, 2)
	writeFile(t, dir, "pg_wal/00000002.history", []byte(historyText(w.names[1].Start(), "test")))
	t.Chdir(dir)
	mustContain(t, p.push(exitFailure, "pg_wal/"+other.names[1].String()).stderr, "no such cluster")
	// A promoted standby's first file is the history; what lies beside it says the rest.
	p.push(exitOK, "pg_wal/00000002.history")
	p.push(exitOK, "pg_wal/"+w.names[0].String())
	mustContain(t, p.push(exitFailure, "pg_wal/"+other.names[1].String()).stderr, "another cluster")
	p.holds(w, first, 0, 1)
}
