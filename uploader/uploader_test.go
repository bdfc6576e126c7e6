package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// segmentKey is the key of segment n, spelled here so that the uploader can't choose another.
func segmentKey(n int) string {
	return fmt.Sprintf("%d/wal/%s/%s/%s", uint64(systemID), lineage, number(n).Log(), number(n))
}

// expectStored reads segment n back and compares.
func expectStored(t testing.TB, store storage.Store, n int, seed uint64) {
	t.Helper()
	c, err := catalog.Open(testContext(t), store, systemID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Segment(testContext(t), lineage, number(n), nil)
	if err != nil {
		t.Error(err)
		return
	}
	want := make([]byte, oneMB)
	fill(want, seed)
	if !bytes.Equal(got, want) {
		t.Errorf("segment %d is stored with other bytes", n)
	}
}

func TestSegmentsAreStoredAndMarked(t *testing.T) {
	memory := storagetest.NewMemory()
	store := watch(t, memory)
	u := start(t, store, Options{Buffers: 4, Puts: 4})
	l := u.Lane(lineage)
	mark := l.Begin(number(3).Start())
	const segments = 20
	for n := range segments {
		handOver(t, u, l, 3+n, uint64(n))
	}
	awaitMark(t, mark, number(3+segments).Start())
	if err := l.WaitIdle(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for n := range segments {
		expectStored(t, memory, 3+n, uint64(n))
	}
	stats := u.Stats()
	if stats.Segments != segments || stats.FreeBuffers != 4 || stats.InFlight != 0 || stats.InFlightBytes != 0 {
		t.Errorf("at the end: %+v", stats)
	}
	if next, ok := l.Next(); !ok || next != number(3+segments).Start() {
		t.Errorf("next stream starts at %s, %v", next, ok)
	}
}

// TestPutsEndInAnyOrder: with segments held back at random the mark never passes one that is not in the store, and no
// memory is used again while a Put reads it.
func TestPutsEndInAnyOrder(t *testing.T) {
	memory := storagetest.NewMemory()
	store := watch(t, memory)
	u := start(t, store, Options{Buffers: 3, Puts: 8, Compressors: 2, ArenaBytes: 3 * segment.MaxEncoded(int(oneMB))})
	l := u.Lane(lineage)
	mark := l.Begin(number(1).Start())
	const segments = 40
	var releases []func()
	for n := 1; n <= segments; n += 3 {
		releases = append(releases, store.hold(segmentKey(n)))
	}
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		for n := 1; n <= segments; n++ {
			handOver(t, u, l, n, uint64(n))
		}
	}()
	ctx := testContext(t)
	for len(releases) > 0 {
		if rand.IntN(2) == 0 {
			i := rand.IntN(min(2, len(releases))) // those that are under way, or nearly
			releases[i]()
			releases = slices.Delete(releases, i, i+1)
		}
		for lsn := mark.LSN(); lsn > number(1).Start(); lsn = 0 {
			n := int(oneMB.Number(lsn)) - 1
			if _, err := memory.Get(ctx, segmentKey(n), nil); err != nil {
				t.Fatalf("marked durable up to %s, but segment %d: %v", lsn, n, err)
			}
		}
		time.Sleep(time.Millisecond) // only to let other orders happen
	}
	await(t, "all segments handed over", handed)
	awaitMark(t, mark, number(segments+1).Start())
	for n := 1; n <= segments; n++ {
		expectStored(t, memory, n, uint64(n))
	}
}

// TestMemoryIsFixedWhileStorageStalls: with nothing answered, buffers and arena fill up to their limits and no further; then
// everything is stored.
func TestMemoryIsFixedWhileStorageStalls(t *testing.T) {
	memory := storagetest.NewMemory()
	faulty := storagetest.NewFaulty(memory)
	store := watch(t, faulty)
	options := Options{Buffers: 3, Puts: 2, ArenaBytes: 2 * segment.MaxEncoded(int(oneMB)), Compressors: 2}
	u := start(t, store, options)
	l := u.Lane(lineage)
	mark := l.Begin(number(1).Start())
	release := faulty.Stall(storage.OpPut)
	defer release()
	n := 1
	for ; ; n++ {
		wait, cancel := context.WithTimeout(testContext(t), 500*time.Millisecond)
		b, err := u.Buffer(wait)
		cancel()
		if err != nil {
			break
		}
		fillDense(b.Bytes, uint64(n))
		l.Segment(number(n), b, xxhash.Sum64(b.Bytes))
		if n > 100 {
			t.Fatal("buffers never run out")
		}
	}
	stats := u.Stats()
	if stats.FreeBuffers != 0 || stats.InFlight != options.Puts || stats.InFlightBytes > options.ArenaBytes {
		t.Errorf("while storage stalls: %+v", stats)
	}
	if mark.LSN() != number(1).Start() {
		t.Errorf("marked durable up to %s with nothing stored", mark.LSN())
	}
	release()
	awaitMark(t, mark, number(n).Start())
	if puts, bytes := store.numbers(); puts > options.Puts || bytes > options.ArenaBytes {
		t.Errorf("%d Puts with %d bytes at a time", puts, bytes)
	}
}

// TestStoredAlready: what is there with the same statement is success, with another one a fork that stops the lane, names
// both and leaves the object alone.
func TestStoredAlready(t *testing.T) {
	memory := storagetest.NewMemory()
	first := start(t, memory, Options{Buffers: 2})
	l := first.Lane(lineage)
	mark := l.Begin(number(1).Start())
	for n := 1; n <= 2; n++ {
		handOver(t, first, l, n, uint64(n))
	}
	awaitMark(t, mark, number(3).Start())

	second := start(t, memory, Options{Buffers: 2})
	l = second.Lane(lineage)
	mark = l.Begin(number(1).Start())
	handOver(t, second, l, 1, 1)
	awaitMark(t, mark, number(2).Start())
	handOver(t, second, l, 2, 99)
	await(t, "lane failed", l.Failed())
	var fork *catalog.ForkError
	if !errors.As(l.Err(), &fork) || fork.Key != segmentKey(2) || fork.Stored.Hash == fork.Ours.Hash {
		t.Errorf("lane failed with %v", l.Err())
	}
	if text := l.Err().Error(); !strings.Contains(text, fork.Stored.String()) || !strings.Contains(text, fork.Ours.String()) {
		t.Errorf("the error doesn't name both: %s", text)
	}
	if mark.LSN() != number(2).Start() {
		t.Errorf("marked durable up to %s", mark.LSN())
	}
	expectStored(t, memory, 2, 2)
}

// TestRunWaitsForPuts: Run returns only when no Put reads the arena any more, so that Close may give it back.
func TestRunWaitsForPuts(t *testing.T) {
	store := watch(t, storagetest.NewMemory())
	u, err := New(newCatalog(t, store), Options{Buffers: 2}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	l := u.Lane(lineage)
	l.Begin(number(1).Start())
	release := store.hold(segmentKey(1))
	handOver(t, u, l, 1, 1)
	<-store.entered
	cancel()
	select {
	case <-done:
		t.Error("Run returned while a Put was under way")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("a lane that was cut off by the end of Run failed: %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestNoSegmentFarBeyondOneThatIsMissing: a Put that hangs must not be overtaken so far that the search for the Frontier
// would begin behind it (catalog.MaxAhead): a receiver started anew would acknowledge WAL that is nowhere.
func TestNoSegmentFarBeyondOneThatIsMissing(t *testing.T) {
	memory := storagetest.NewMemory()
	store := watch(t, memory)
	u := start(t, store, Options{Buffers: 2, Puts: 2})
	l := u.Lane(lineage)
	mark := l.Begin(number(10).Start())
	c := newCatalog(t, memory)
	if err := c.Begin(testContext(t), lineage, number(10).Start(), time.Now()); err != nil {
		t.Fatal(err)
	}
	const missing = 11
	release := store.hold(segmentKey(missing))
	defer release()
	last := missing + catalog.MaxAhead + 20
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		for n := 10; n <= last; n++ {
			b, err := u.Buffer(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			l.Segment(number(n), b, xxhash.Sum64(b.Bytes)) // zeros: only the order matters
		}
	}()
	ctx := testContext(t)
	allowed := segmentKey(missing + catalog.MaxAhead - 1)
	for stored := false; !stored; time.Sleep(time.Millisecond) {
		var err error
		if stored, err = memory.Exists(ctx, allowed); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-handed:
		t.Error("all segments were taken although one hangs")
	case <-time.After(300 * time.Millisecond):
	}
	if end, _, err := c.Frontier(testContext(t), lineage); err != nil || end != number(missing).Start() {
		t.Errorf("Frontier %s, %v: want %s, where a segment is missing", end, err, number(missing).Start())
	}
	release()
	await(t, "all segments handed over", handed)
	awaitMark(t, mark, number(last+1).Start())
}
