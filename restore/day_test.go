package restore_test

import (
	"testing"

	"walkeep/restore"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// S54: one link a second for a day, rolled up as docs/adr/0001-tail-rollups.md says. At no time does a fetch read more
// than about a hundred objects.
func TestS54TailOfADay(t *testing.T) {
	const (
		day     = 86_400
		perLink = 12 // bytes: a day fits a segment of 1 MB
		fanout  = 32
	)
	memory := storagetest.NewMemory()
	a := newArchive(t, memory)
	raw, most := a.raw(first), 0
	for links := 1; links <= day; links++ {
		end := links * perLink
		a.linkRaw(first, raw, end-perLink, end)
		// A roll-up of a level replaces fanout of the level below: its size is the lowest digit that is not zero.
		size := 1
		for links%(size*fanout) == 0 {
			size *= fanout
		}
		if size > 1 {
			a.rollupRaw(first, raw, end-size*perLink, end)
		}
		// The most objects are read just before digits carry, and before a roll-up is there.
		if (links+1)%16384 == 0 || links%40_011 == 0 || links == day {
			most = max(most, readsOf(t, a, memory, segment.Number(first), raw[:end]))
		}
	}
	t.Logf("at most %d reads", most)
	if most > 100 {
		t.Errorf("a fetch read %d objects", most)
	}
	if most < 90 {
		t.Errorf("a fetch read only %d objects: this test doesn't meet the worst case", most)
	}
}

// readsOf fetches segment n, whose tail holds raw, and returns how many objects that read.
func readsOf(t *testing.T, a *archive, memory *storagetest.Memory, n segment.Number, raw []byte) int {
	t.Helper()
	counted := storagetest.NewFaulty(memory)
	got := fetch(a.open(counted), restore.FetchOptions{Mode: restore.ModeRecovery}, a.name(n).String())
	if got.answer != "found" {
		t.Fatal(got.err)
	}
	if err := sameSegment(got.content, raw); err != nil {
		t.Fatal(err)
	}
	if lists := counted.Calls(storage.OpList); lists > 6 {
		t.Errorf("%d listings", lists)
	}
	return counted.Calls(storage.OpGet)
}
