package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage/disk"
)

// An inspectArchive is a repository of real WAL: whole segments, and a tail that ends within a record.
type inspectArchive struct {
	url, dir string
	start    segment.LSN // of the first segment
	whole    int         // segments
	end      segment.LSN
	wal      []byte
}

// inspectRepo archives the WAL that the tests of segment/record have. Segments whose index is in missing are left out.
func inspectRepo(t *testing.T, missing ...int) inspectArchive {
	t.Helper()
	packed, err := os.Open("../../segment/record/testdata/15.wal.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	const size = segment.MinSize
	a := inspectArchive{dir: filepath.Join(t.TempDir(), "repo"), start: segment.LSN(binary.LittleEndian.Uint64(wal[8:])), wal: wal}
	a.url = "file://" + a.dir
	store, err := disk.Create(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	systemID := binary.LittleEndian.Uint64(wal[24:])
	c, _, err := catalog.Create(t.Context(), store, systemID, size, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := segment.Lineage{Timeline: 1}
	if err := c.Begin(t.Context(), l, a.start, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i := 0; len(wal) > 0; i++ {
		raw := wal[:size]
		wal = wal[size:]
		if len(wal) == 0 {
			raw = raw[:0x1510] // in the record at 0/A014F8
		} else {
			a.whole++
		}
		n := segment.NameAt(1, a.start+segment.LSN(i)*segment.LSN(size), size)
		a.end = n.Start() + segment.LSN(len(raw))
		statement := segment.NewStatement(systemID, l, n.Start(), raw)
		object, err := segment.NewEncoder().Encode(nil, statement, raw)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(missing) > 0 && missing[0] == i:
		case len(wal) == 0:
			err = c.PutLink(t.Context(), n, statement, object)
		default:
			err = c.PutSegment(t.Context(), n, statement, object)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a inspectArchive) name(i int) string {
	return segment.NameAt(1, a.start+segment.LSN(i)*segment.LSN(segment.MinSize), segment.MinSize).String()
}

func (a inspectArchive) inspect(t *testing.T, args ...string) result {
	t.Helper()
	return walkeep(t.Context(), nil, append([]string{"inspect", "--repo", a.url, "--wait", "10s"}, args...)...)
}

// lines runs inspect --json and returns the records.
func (a inspectArchive) lines(t *testing.T, args ...string) []recordLine {
	t.Helper()
	r := a.inspect(t, append(args, "--json")...)
	if r.code != exitOK {
		t.Fatalf("inspect %q: exit %d: %s", args, r.code, r.stderr)
	}
	var lines []recordLine
	for d := json.NewDecoder(strings.NewReader(r.stdout)); d.More(); {
		var l struct {
			recordLine
			Blocks json.RawMessage `json:"blocks"`
			Rows   json.RawMessage `json:"rows"`
			End2   json.RawMessage `json:"transaction"`
		}
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l.recordLine)
	}
	return lines
}

func TestInspectArguments(t *testing.T) {
	a := inspectRepo(t)
	for args, want := range map[string]struct {
		code   exitCode
		stderr string
	}{
		"2026-01-01T00:00..2026-01-02T00:00": {exitUsage, "to find WAL by time needs an index"},
		"nonsense":                           {exitUsage, "is not a WAL segment name"},
		"0/5..0/4":                           {exitUsage, "holds nothing"},
		"..0/4":                              {exitUsage, "is not of the form"},
		"0/1.. --stats=other":                {exitUsage, "want rmgr or record"},
		"0/1.. --rmgr heap,nobody":           {exitUsage, "--rmgr nobody: want one of XLOG, Transaction"},
		"0/1.. --rmgr custom127":             {exitUsage, "--rmgr custom127"},
		"0/1.. --relation 1/2":               {exitUsage, "1663/5/16384"},
		"0/1.. --limit -1":                   {exitUsage, "--limit -1"},
		"0/1.. --out x --limit 1":            {exitUsage, "--out writes whole segments"},
		"0/1.. --timeline x":                 {exitUsage, "--timeline x"},
		"0/1.. --timeline 2":                 {exitFailure, "nothing of timeline 2 is archived"},
		a.name(0) + " --timeline 2":          {exitUsage, "is of timeline 1"},
		"FF/0..":                             {exitFailure, "the archive of timeline 1 ends at " + a.end.String()},
		"FF/0..FF/100000":                    {exitFailure, "is not in the archive"},
		"0/1..0/2":                           {exitFailure, "000000010000000000000000"},
		a.name(0) + ".." + a.name(9) + " --xid x": {exitUsage, "invalid argument"},
	} {
		got := a.inspect(t, strings.Fields(args)...)
		if got.code != want.code || !strings.Contains(got.stderr, want.stderr) {
			t.Errorf("inspect %s: exit %d, %q; want %d, %q", args, got.code, got.stderr, want.code, want.stderr)
		}
	}
}

// TestInspectTail: the tail is read up to where it ends, and a record that is not whole there is no damage.
func TestInspectTail(t *testing.T) {
	a := inspectRepo(t)
	lines := a.lines(t, a.start.String()+"..")
	last := lines[len(lines)-1]
	if torn := segment.LSN(0xA014F8); last.End != torn {
		t.Errorf("the last record ends at %s, want %s", last.End, torn)
	}
	if r := a.inspect(t, a.start.String()+".."); !strings.Contains(r.stderr, "the archive ends within a record") {
		t.Errorf("stderr %q", r.stderr)
	}
	// Part by part it is the same records, but those that lie across the parts.
	var parts []recordLine
	for i := range a.whole {
		parts = append(parts, a.lines(t, a.name(i))...)
	}
	n := 0
	for _, l := range lines {
		crosses := segment.MinSize.Number(l.LSN) != segment.MinSize.Number(l.End-1)
		if int(segment.MinSize.Number(l.LSN)-segment.MinSize.Number(a.start)) == a.whole || crosses {
			continue
		}
		if n >= len(parts) || parts[n].LSN != l.LSN {
			t.Fatalf("record %d of the parts is not the one at %s", n, l.LSN)
		}
		n++
	}
	if n != len(parts) {
		t.Errorf("%d records in parts, %d at once", len(parts), n)
	}
}

// TestInspectFilters: each filter takes what it says, of all records that there are.
func TestInspectFilters(t *testing.T) {
	a := inspectRepo(t)
	all := a.start.String() + ".."
	lines := a.lines(t, all)
	count := func(is func(recordLine) bool) (n int) {
		for _, l := range lines {
			if is(l) {
				n++
			}
		}
		return n
	}
	commits := count(func(l recordLine) bool { return l.Op == "COMMIT" })
	xid := uint32(0)
	for _, l := range lines {
		if l.Manager == "Heap" && strings.HasPrefix(l.Description, "DELETE") {
			xid = l.XID
		}
	}
	tests := map[string]int{
		"--rmgr transaction,xlog": count(func(l recordLine) bool { return l.Manager == "Transaction" || l.Manager == "XLOG" }),
		"--limit 17":              17,
		"--rmgr HEAP --limit 5":   5,
		fmt.Sprint("--xid ", xid): count(func(l recordLine) bool { return l.XID == xid }),
		"--relation 1663/5/1259":  count(func(l recordLine) bool { return strings.Contains(l.Description, "rel 1663/5/1259 ") }),
	}
	for args, want := range tests {
		if got := len(a.lines(t, append(strings.Fields(args), all)...)); got != want || want == 0 {
			t.Errorf("inspect %s: %d records, want %d", args, got, want)
		}
	}
	var stats struct {
		Types   []statsRow  `json:"types"`
		Total   recordCount `json:"total"`
		Commits int         `json:"commits"`
		First   string      `json:"first_commit_time"`
		Last    string      `json:"last_commit_time"`
	}
	if err := json.Unmarshal([]byte(a.inspect(t, all, "--json", "--stats=record").stdout), &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Total.Records != int64(len(lines)) || stats.Commits != commits || stats.First >= stats.Last || len(stats.Types) < 20 {
		t.Errorf("%d records, %d commits from %s to %s, %d types; want %d and %d", stats.Total.Records, stats.Commits,
			stats.First, stats.Last, len(stats.Types), len(lines), commits)
	}
}

// TestInspectRange: a range holds the records that begin and end in it, the alignment behind the last one aside.
func TestInspectRange(t *testing.T) {
	a := inspectRepo(t)
	lines := a.lines(t, a.name(0))
	i := 20
	for lines[i].Length%8 == 0 {
		i++ // one with alignment behind it
	}
	j := i + 40
	first, last := lines[i], lines[j]
	for _, tt := range []struct {
		from, to segment.LSN
		i, j     int
	}{
		{first.LSN, last.End, i, j},
		{first.LSN + 1, last.End, i + 1, j},
		{first.LSN, last.End - 8, i, j - 1},
		{first.LSN, last.LSN, i, j - 1},
		{first.LSN, first.End - 1, i, i}, // up to the alignment behind it
	} {
		got := a.lines(t, tt.from.String()+".."+tt.to.String())
		want := lines[tt.i : tt.j+1]
		if len(got) != len(want) || got[0].LSN != want[0].LSN || got[len(got)-1].LSN != want[len(want)-1].LSN {
			t.Errorf("%s..%s: %d records, want %d from %s to %s", tt.from, tt.to, len(got), len(want), want[0].LSN, want[len(want)-1].LSN)
		}
	}
}

// TestInspectHole: records before missing WAL are shown, then the exit code says that it is missing.
func TestInspectHole(t *testing.T) {
	a := inspectRepo(t, 1)
	r := a.inspect(t, a.start.String()+".."+a.end.String())
	if r.code != exitFailure || !strings.Contains(r.stderr, a.name(1)+" is missing") || strings.Count(r.stdout, "\n") < 100 {
		t.Errorf("exit %d, %d lines, %q", r.code, strings.Count(r.stdout, "\n"), r.stderr)
	}
}

func TestInspectExport(t *testing.T) {
	a := inspectRepo(t)
	out := filepath.Join(t.TempDir(), "new", "dir")
	all := a.start.String() + ".."
	for range 2 { // files that are there with the same content are fine
		r := a.inspect(t, all, "--out", out)
		if r.code != exitOK || strings.Count(r.stdout, "\n") != a.whole+1 {
			t.Fatalf("exit %d, %q, %q", r.code, r.stdout, r.stderr)
		}
	}
	for i := range a.whole + 1 {
		name, n := a.name(i), int(segment.MinSize)
		if i == a.whole {
			name, n = name+".partial", segment.MinSize.Offset(a.end)
		}
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, segment.MinSize)
		copy(want, a.wal[i*int(segment.MinSize):][:n])
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
	}
	first := filepath.Join(out, a.name(0))
	if err := os.WriteFile(first, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.inspect(t, a.name(0), "--out", out); r.code != exitFailure || !strings.Contains(r.stderr, "holds something else") {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
	if got, err := os.ReadFile(first); err != nil || string(got) != "mine" {
		t.Errorf("the file is %q, %v", got, err)
	}
}
