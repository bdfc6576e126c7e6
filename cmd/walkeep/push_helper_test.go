package main

import (
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

// realWAL is WAL that a real server wrote, in segments of 1 MB: see segment/record/testdata.
type realWAL struct {
	systemID uint64
	names    []segment.Name
	raw      [][]byte
}

func loadWAL(t testing.TB, major int) realWAL {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("../../segment/record/testdata/%d.wal.gz", major))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	h := catalog.ParseLongHeader(all)
	w := realWAL{systemID: h.SystemID}
	for n := segment.NameAt(1, h.Address, segment.MinSize); len(all) >= int(segment.MinSize); n = n.Next() {
		w.names, w.raw = append(w.names, n), append(w.raw, all[:segment.MinSize:segment.MinSize])
		all = all[segment.MinSize:]
	}
	if len(w.names) < 3 {
		t.Fatalf("only %d segments", len(w.names))
	}
	return w
}

// fork returns the WAL of timeline 2, forked at lsn, as a server writes it that goes on the same way: page headers carry the
// timeline, records don't.
func (w realWAL) fork(lsn segment.LSN) realWAL {
	child := realWAL{systemID: w.systemID}
	for i, n := range w.names {
		if n.End() <= lsn {
			continue
		}
		raw := append([]byte(nil), w.raw[i]...)
		for offset := 0; offset < len(raw); offset += 8192 {
			if n.Start()+segment.LSN(offset) >= lsn && binary.LittleEndian.Uint16(raw[offset:]) != 0 {
				binary.LittleEndian.PutUint32(raw[offset+4:], 2)
			}
		}
		n.Timeline = 2
		child.names, child.raw = append(child.names, n), append(child.raw, raw)
	}
	return child
}

func historyText(lsn segment.LSN, reason string) string {
	return fmt.Sprintf("1\t%s\t%s\n", lsn, reason)
}

// write writes segments [from, to) into dir and returns their paths.
func (w realWAL) write(t testing.TB, dir string, from, to int) []string {
	t.Helper()
	var paths []string
	for i := from; i < to; i++ {
		paths = append(paths, writeFile(t, dir, w.names[i].String(), w.raw[i]))
	}
	return paths
}

func writeFile(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A pushTest is a repository and what is pushed to it.
type pushTest struct {
	*testing.T
	repo string
}

func newPushTest(t *testing.T) *pushTest {
	return &pushTest{T: t, repo: filepath.Join(t.TempDir(), "repo")}
}

func (p *pushTest) run(args ...string) result {
	p.Helper()
	return walkeep(p.Context(), []string{"WALKEEP_REPO=file://" + p.repo}, args...)
}

// push pushes, and ends the test if the exit code is another one.
func (p *pushTest) push(want exitCode, args ...string) result {
	p.Helper()
	got := p.run(append([]string{"push"}, args...)...)
	if got.code != want {
		p.Fatalf("push %q: exit %d, want %d\n%s%s", args, got.code, want, got.stdout, got.stderr)
	}
	return got
}

type pushSummary struct {
	Stored, Present, Skipped, Refused int
	Unchecked                         uint64 `json:"unchecked_bytes"`
	Healed                            []catalog.OpenGap
	OpenGaps                          []catalog.OpenGap `json:"open_gaps"`
	Missing                           []missingRange
}

func (p *pushTest) pushJSON(want exitCode, args ...string) pushSummary {
	p.Helper()
	var s pushSummary
	got := p.push(want, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil {
		p.Fatalf("%s: %s", err, got.stdout)
	}
	return s
}

// catalog opens what the repository holds, or a new one of w's cluster.
func (p *pushTest) catalog(w realWAL) *catalog.Catalog {
	p.Helper()
	store, err := disk.Create(p.repo)
	if err != nil {
		p.Fatal(err)
	}
	c, _, err := catalog.Create(p.Context(), store, w.systemID, segment.MinSize, time.Now())
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// holds checks that the repository holds exactly the segments of a lineage from first to last.
func (p *pushTest) holds(w realWAL, l segment.Lineage, from, to int) {
	p.Helper()
	c := p.catalog(w)
	for i, n := range w.names {
		raw, err := c.Segment(p.Context(), l, n, nil)
		if stored := err == nil; stored != (i >= from && i < to) {
			p.Errorf("segment %s stored: %v (%v)", n, stored, err)
		} else if stored && string(raw) != string(w.raw[i]) {
			p.Errorf("segment %s has other bytes", n)
		}
	}
}

func mustContain(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in %q", part, text)
		}
	}
}
