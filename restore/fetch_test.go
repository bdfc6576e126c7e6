package restore_test

import (
	"context"
	"strings"
	"testing"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/segment"
	"walkeep/storage/storagetest"
)

func TestFetchAnswers(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	a.put(first, first+1)
	a.wantBytes(first, a.raw(first))
	a.wantBytes(first+1, a.raw(first+1))
	a.want("absent", first+2)
	a.want("absent", first+200)
	a.want("hole", first-1) // a base backup older than the archive
}

func TestTailIsFilledUpWithZeros(t *testing.T) {
	for name, fill := range map[string]func(*archive){
		"one link":          func(a *archive) { a.link(first+1, 300_000) },
		"links":             func(a *archive) { a.link(first+1, 1, 8192, 8193, 300_000) },
		"roll-up":           func(a *archive) { a.link(first+1, 100_000, 300_000); a.rollup(first+1, 0, 300_000) },
		"roll-up and links": func(a *archive) { a.link(first+1, 1000, 2000, 300_000); a.rollup(first+1, 0, 2000) },
		"roll-ups in a row": func(a *archive) {
			a.link(first+1, 1000, 2000, 3000, 300_000)
			a.rollup(first+1, 0, 1000)
			a.rollup(first+1, 1000, 3000)
		},
		"a roll-up that replaces others": func(a *archive) {
			a.link(first+1, 1000, 2000, 300_000)
			a.rollup(first+1, 0, 1000)
			a.rollup(first+1, 1000, 2000)
			a.rollup(first+1, 0, 300_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t, storagetest.NewMemory())
			a.put(first)
			fill(a)
			a.wantBytes(first+1, a.raw(first + 1)[:300_000])
			a.want("absent", first+2)
		})
	}
}

// A tail that holds all of its segment, as in synchronous mode, counts as the segment.
func TestWholeTailIsASegment(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	a.link(first, 5000, int(testSize))
	a.put(first + 1)
	a.wantBytes(first, a.raw(first))
	got := a.wantMode("found", restore.FetchOptions{Mode: restore.ModeStandby}, a.name(first).String())
	if err := sameSegment(got.content, a.raw(first)); err != nil {
		t.Error(err)
	}
}

// A standby goes on where its primary's stream is, not at the zeros behind a tail.
func TestStandbyGetsNoTail(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	a.put(first)
	a.link(first+1, 300_000)
	standby := restore.FetchOptions{Mode: restore.ModeStandby}
	a.wantMode("found", standby, a.name(first).String())
	a.wantMode("absent", standby, a.name(first+1).String())
	a.wantMode("absent", standby, a.name(first+2).String())
}

func TestHoles(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(*archive)
		n    segment.Number
		want string
	}{
		"segment":       {func(a *archive) { a.put(first, first+2) }, first + 1, "hole"},
		"many segments": {func(a *archive) { a.put(first, first+3*catalog.MaxAhead) }, first + 1, "hole"},
		"before a tail": {func(a *archive) { a.put(first); a.link(first+2, 100) }, first + 1, "hole"},
		"lost link":     {func(a *archive) { a.linkFrom(first, 100, 200) }, first, "unknown"},
		"tail cut short, a later segment is part of the Frontier": {func(a *archive) {
			a.link(first, 100, 200)
			a.put(first+1, first+2)
			if err := a.catalog.RecordGap(context.Background(), catalog.Gap{
				Lineage: a.lineage, From: a.name(first).Start() + 200, To: a.name(first).End(), Kind: catalog.GapLost, Reason: "test",
			}); err != nil {
				panic(err)
			}
		}, first, "hole"},
		"lost segment behind a gap": {func(a *archive) {
			a.put(first, first+2)
			if err := a.catalog.RecordGap(context.Background(), catalog.Gap{
				Lineage: a.lineage, From: a.name(first + 1).Start(), To: a.name(first + 1).End(), Kind: catalog.GapLost, Reason: "test",
			}); err != nil {
				panic(err)
			}
		}, first + 1, "hole"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t, storagetest.NewMemory())
			c.fill(a)
			got := a.want(c.want, c.n)
			if !strings.Contains(got.err.Error(), a.name(c.n).String()) {
				t.Errorf("%q doesn't name %s", got.err, a.name(c.n))
			}
		})
	}
}

// A receiver that was killed leaves segments beyond the Frontier: its tail is the end all the same.
func TestTailBeforeSegmentsOutOfOrder(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	a.put(first)
	a.link(first+1, 1000, 5000)
	a.put(first+2, first+5)
	a.wantBytes(first+1, a.raw(first + 1)[:5000])
}

func TestNames(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	a.put(first)
	name := a.name(first).String()
	for file, want := range map[string]string{
		name:                                        "found",
		name + ".partial":                           "absent",
		name + ".00000028.backup":                   "absent",
		"00000001.history":                          "absent",
		"00000002.history":                          "absent",
		"000000020000000000000002":                  "absent", // a timeline never heard of
		"000000000000000000000002":                  "unknown",
		"0000000100000000FFFFFFFF":                  "unknown", // no such segment of 1 MB
		"00000000.history":                          "unknown",
		strings.ToLower("0000000A.history"):         "unknown",
		strings.ToLower("00000001000000000000000A"): "unknown",
		"00000001000000000000000":                   "unknown",
		name + "0":                                  "unknown",
		name + "\n":                                 "unknown",
		name + ".gz":                                "unknown",
		name + ".0000002.backup":                    "unknown",
		"../" + name:                                "unknown",
		"pg_wal/RECOVERYXLOG":                       "unknown", // %p %f
		"../../cluster/7300000000000000001.json":    "unknown",
		"..":                                        "unknown",
		"":                                          "unknown",
		"\x00":                                      "unknown",
		"%f":                                        "unknown",
	} {
		if got := fetch(a.catalog, restore.FetchOptions{Mode: restore.ModeRecovery}, file); got.answer != want {
			t.Errorf("fetch %q: %s (%v), want %s", file, got.answer, got.err, want)
		}
	}
}
