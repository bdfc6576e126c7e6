package restore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// faultArchive has one of everything that a fetch may meet: whole segments, tails with and without roll-ups, an end, a hole,
// a child timeline that begins within a segment of its parent and one that begins at a boundary.
func faultArchive(t testing.TB, store storage.Store) (files map[string]string) {
	a := newArchive(t, store)
	a.put(first, first+1)
	a.link(first+2, 1000, 2000, 300_000)
	a.rollup(first+2, 0, 2000)
	two := a.branch(2, "1\t0/410000\tno recovery target specified\n")
	two.begin(4)
	three := two.branch(3, "1\t0/410000\tno recovery target specified\n\n2\t0/500000\tno recovery target specified\n")
	four := three.branch(4, "1\t0/410000\tno recovery target specified\n\n2\t0/500000\tno recovery target specified\n\n3\t0/700000\tx\n")
	four.begin(7)
	four.put(8)
	return map[string]string{
		a.name(first).String():     "found",
		a.name(first + 1).String(): "found",
		a.name(first + 2).String(): "found",
		a.name(first + 3).String(): "absent",
		a.name(first - 1).String(): "hole",
		"00000002.history":         "found",
		"00000003.history":         "found",
		"00000005.history":         "absent",
		two.name(3).String():       "absent", // before the timeline
		two.name(4).String():       "found",  // its parent's tail, up to the switch point
		three.name(5).String():     "found",  // begins at the boundary, nothing archived
		three.name(6).String():     "absent",
		four.name(7).String():      "hole",
		four.name(8).String():      "found",
	}
}

// S42 and its kin: the k-th call of the store fails, for every k and for every kind of file. What is there or missing in
// between is never "absent", and what is absent is not said to be when it could not be found out.
func TestS42EveryCallFails(t *testing.T) {
	memory := storagetest.NewMemory()
	files := faultArchive(t, memory)
	faults := map[string]storagetest.Fault{
		"denied":       {Err: storage.ErrDenied},
		"no bucket":    {Err: storage.ErrNoBucket},
		"reset":        {Err: errors.New("connection reset by peer")},
		"timeout":      {Err: context.DeadlineExceeded},
		"short list":   {AfterItems: 1},
		"shorter list": {AfterItems: 2},
	}
	for file, healthy := range files {
		want := fetchOpening(memory, file)
		if want.answer != healthy {
			t.Errorf("fetch %s without faults: %s (%v), want %s", file, want.answer, want.err, healthy)
		}
		for what, fault := range faults {
			for k := 0; ; k++ {
				faulty := storagetest.NewFaulty(memory)
				fault.Op, fault.Call = storagetest.OpAny, k
				faulty.Fail(fault)
				c, err := catalog.Open(context.Background(), faulty, testSystem)
				if err != nil {
					continue // the first call: no answer at all
				}
				got := fetch(c, restore.FetchOptions{Mode: restore.ModeRecovery}, file)
				if faulty.Calls(storagetest.OpAny) <= k {
					break
				}
				// A listing that fails behind what was asked for does no harm.
				harmless := fault.AfterItems > 0 && healthy != "absent" && got.answer == healthy && bytes.Equal(got.content, want.content)
				if got.answer != "unknown" && !harmless {
					t.Errorf("fetch %s, %s at call %d: %s (%v), want unknown", file, what, k, got.answer, got.err)
				}
			}
		}
	}
}

// The same over the retrying store that the command uses: single faults are not noticed.
func TestRetriedFaultsAreNotNoticed(t *testing.T) {
	memory := storagetest.NewMemory()
	files := faultArchive(t, memory)
	for file, healthy := range files {
		want := fetchOpening(memory, file)
		for k := 0; ; k++ {
			faulty := storagetest.NewFaulty(memory)
			faulty.Fail(storagetest.Fault{Op: storagetest.OpAny, Call: k, AfterItems: k % 3})
			got := fetchOpening(storage.Retry(faulty, storage.RetryPolicy{MinDelay: 1, MaxDelay: 1}), file)
			if got.answer != healthy || !bytes.Equal(got.content, want.content) {
				t.Errorf("fetch %s with a fault at call %d: %s (%v), want %s", file, k, got.answer, got.err, healthy)
			}
			if faulty.Calls(storagetest.OpAny) <= k {
				break
			}
		}
	}
}

// A context that ends is no proof of anything.
func TestEndedContextIsNoProof(t *testing.T) {
	a := newArchive(t, storagetest.NewMemory())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f := restore.NewFetcher(a.catalog, restore.FetchOptions{Mode: restore.ModeRecovery})
	for _, file := range []string{a.name(first).String(), "00000002.history", "000000020000000000000002"} {
		if _, absent, err := f.Fetch(ctx, file, nil); absent.Proven() || !errors.Is(err, context.Canceled) {
			t.Errorf("fetch %s: %v, %v", file, absent, err)
		}
	}
}

func TestZeroAbsenceIsNoProof(t *testing.T) {
	if (restore.Absence{}).Proven() {
		t.Error("the zero Absence proves")
	}
}
