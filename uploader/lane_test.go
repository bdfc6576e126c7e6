package uploader

import (
	"context"
	"errors"
	"slices"
	"testing"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// TestS56NextStreamBeginsAtTheFrontier: a stream that follows while segments are still on their way has a Watermark that begins
// at the first of them that is not durable, not at its own start (scenario S56).
func TestS56NextStreamBeginsAtTheFrontier(t *testing.T) {
	memory := storagetest.NewMemory()
	store := watch(t, memory)
	u := start(t, store, Options{Buffers: 6})
	l := u.Lane(lineage)
	if _, ok := l.Next(); ok {
		t.Error("a new lane knows where to go on")
	}
	mark := l.Begin(number(1).Start())
	release2, release4 := store.hold(segmentKey(2)), store.hold(segmentKey(4))
	for n := 1; n <= 5; n++ {
		handOver(t, u, l, n, uint64(n))
	}
	awaitMark(t, mark, number(2).Start())
	for _, n := range []int{3, 5} {
		awaitStored(t, memory, n)
	}
	start, ok := l.Next()
	if !ok || start != number(6).Start() {
		t.Fatalf("next stream starts at %s, %v", start, ok)
	}

	next := l.Begin(start)
	if got, want := next.LSN(), number(2).Start(); got != want {
		t.Errorf("the second stream begins by acknowledging %s, want %s", got, want)
	}
	next.Durable(start, start+100) // a link of the second stream
	release2()
	awaitMark(t, next, number(4).Start())
	if got, want := next.LSN(), number(4).Start(); got != want {
		t.Errorf("without segment 4: %s, want %s", got, want)
	}
	third := l.Begin(start)
	if got, want := third.LSN(), number(4).Start(); got != want {
		t.Errorf("the third stream begins by acknowledging %s, want %s", got, want)
	}
	release4()
	awaitMark(t, third, start)
	if got := third.LSN(); got != start {
		t.Errorf("at the end: %s, want %s: the link was another stream's", got, start)
	}
}

// awaitStored waits until segment n is in the store and its lane knows.
func awaitStored(t testing.TB, memory *storagetest.Memory, n int) {
	t.Helper()
	ctx := testContext(t)
	for stored := false; !stored; {
		var err error
		if stored, err = memory.Exists(ctx, segmentKey(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitIdle(t *testing.T) {
	store := watch(t, storagetest.NewMemory())
	u := start(t, store, Options{Buffers: 4})
	l := u.Lane(lineage)
	l.Begin(number(1).Start())
	if err := l.WaitIdle(testContext(t)); err != nil {
		t.Errorf("nothing handed over: %v", err)
	}
	release := store.hold(segmentKey(1))
	defer release()
	handOver(t, u, l, 1, 1)
	handOver(t, u, l, 2, 2)
	ended, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := l.WaitIdle(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a segment is held: %v", err)
	}
	release()
	if err := l.WaitIdle(testContext(t)); err != nil {
		t.Error(err)
	}
}

// TestFailedLaneDropsWhatItWasHanded: after an error nothing further of the lane is put, and its buffers come back.
func TestFailedLaneDropsWhatItWasHanded(t *testing.T) {
	memory := storagetest.NewMemory()
	faulty := storagetest.NewFaulty(memory)
	u := start(t, faulty, Options{Buffers: 2})
	l := u.Lane(lineage)
	mark := l.Begin(number(1).Start())
	faulty.FailNext(storage.OpPut, storage.ErrDenied)
	handOver(t, u, l, 1, 1)
	await(t, "lane failed", l.Failed())
	for n := 2; n <= 6; n++ {
		handOver(t, u, l, n, uint64(n))
	}
	other := u.Lane(lineage)
	otherMark := other.Begin(number(1).Start())
	handOver(t, u, other, 1, 1)
	awaitMark(t, otherMark, number(2).Start())
	if slices.Contains(memory.Keys(), segmentKey(6)) {
		t.Error("a lane that has failed goes on storing")
	}
	if err := l.WaitIdle(testContext(t)); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("WaitIdle of the failed lane: %v", err)
	}
	if mark.LSN() != number(1).Start() {
		t.Errorf("marked durable up to %s", mark.LSN())
	}
}

// TestTailIsDroppedBehindItsSegment: never before the segment is durable.
func TestTailIsDroppedBehindItsSegment(t *testing.T) {
	memory := storagetest.NewMemory()
	store := watch(t, memory)
	u := start(t, store, Options{Buffers: 4})
	l := u.Lane(lineage)
	mark := l.Begin(number(1).Start())
	raw := make([]byte, oneMB)
	fill(raw, 1)
	k := l.Linker()
	for i := range 3 {
		if err := k.Put(testContext(t), number(1), number(1).Start()+segment.LSN(100*i), raw[100*i:100*i+100]); err != nil {
			t.Fatal(err)
		}
	}
	k.Wait()
	if err := l.Rollup(testContext(t), number(1), number(1).Start(), raw[:300]); err != nil {
		t.Fatal(err)
	}
	release := store.hold(segmentKey(1))
	handOver(t, u, l, 1, 1)
	handOver(t, u, l, 2, 2)
	awaitStored(t, memory, 2)
	c := newCatalog(t, memory)
	if end, err := c.TailEnd(testContext(t), lineage, number(1)); err != nil || end != 300 {
		t.Errorf("tail ends at %d, %v, before its segment is durable", end, err)
	}
	release()
	awaitMark(t, mark, number(3).Start())
	ctx := testContext(t)
	for {
		end, err := c.TailEnd(ctx, lineage, number(1))
		if err == nil && end == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("tail is not deleted: %d, %v", end, err)
		}
	}
}
