package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// interrupted runs before before each call of the store.
type interrupted struct {
	storage.Store
	before func()
}

func (s *interrupted) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	s.before()
	return s.Store.Get(ctx, key, dst)
}

func (s *interrupted) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		s.before()
		s.Store.List(ctx, prefix, after)(yield)
	}
}

// steps are what a receiver does, one after the other, with a segment from half-way through it to half-way through the next
// one. Deleting a tail is several steps.
func steps(a *archive, memory *storagetest.Memory) []func() {
	const half = int(testSize) / 2
	all := []func(){
		func() { a.linkFrom(3, half, half+1000) },
		func() { a.rollup(3, 0, half+1000) },
		func() { a.put(3) },
	}
	for range 5 { // the objects of the tail, last link first
		all = append(all, func() {
			keys := tailKeys(memory, a.name(3).String())
			if len(keys) > 0 {
				_ = memory.Delete(context.Background(), keys[len(keys)-1])
			}
		})
	}
	return append(all,
		func() { a.link(4, 500) },
		func() { a.linkFrom(4, 500, 900) },
		func() { a.put(4) },
		func() { a.dropTail(4) },
		func() { a.link(5, 77) },
	)
}

func tailKeys(memory *storagetest.Memory, name string) []string {
	var keys []string
	for _, key := range memory.Keys() {
		if bytes.Contains([]byte(key), []byte("/tail/00000001-00000000/"+name+"/")) {
			keys = append(keys, key)
		}
	}
	return keys
}

// bursts returns a store before whose calls first and second that many of the writer's steps happen.
func bursts(memory *storagetest.Memory, steps []func(), first, second int, sizes [2]int) *interrupted {
	calls := 0
	step := func(n int) {
		n = min(n, len(steps))
		for _, do := range steps[:n] {
			do()
		}
		steps = steps[n:]
	}
	return &interrupted{memory, func() {
		switch calls++; calls {
		case first:
			step(sizes[0])
		case second:
			step(sizes[1])
		}
	}}
}

// eachInterruption calls test with every pair of bursts of steps that fall between the calls of a fetch.
func eachInterruption(test func(done, first, second int, sizes [2]int)) {
	for done := range 5 {
		for first := 2; first <= 7; first++ {
			for _, second := range []int{first + 1, first + 3} {
				for _, size := range []int{1, 2, 3, 4, 6, 9} {
					for _, next := range []int{2, 99} {
						test(done, first, second, [2]int{size, next})
					}
				}
			}
		}
	}
}

// S44, exhaustively for one writer: its steps fall between the calls of a fetch in every way. What was durable before the
// fetch is in its answer.
func TestS44WriterBetweenTheCalls(t *testing.T) {
	const half = int(testSize) / 2
	eachInterruption(func(done, first, second int, sizes [2]int) {
		memory, a, rest := halfway(t, done)
		have := []int{half, half + 1000, half + 1000, int(testSize), int(testSize)}[done]
		got := fetchOpening(bursts(memory, rest, first, second, sizes), a.name(3).String())
		if got.answer != "found" {
			t.Fatalf("%d steps before, %v before calls %d and %d: %s: %v", done, sizes, first, second, got.answer, got.err)
		}
		if err := prefixAtLeast(got.content, a.raw(3), have); err != nil {
			t.Fatalf("%d steps before, %v before calls %d and %d: %v", done, sizes, first, second, err)
		}
	})
}

// The answer about the segment behind the end is "absent" until something of it is there, and never a hole.
func TestS44WriterReachesTheFile(t *testing.T) {
	eachInterruption(func(done, first, second int, sizes [2]int) {
		memory, a, rest := halfway(t, done)
		got := fetchOpening(bursts(memory, rest, first, second, sizes), a.name(4).String())
		if got.answer != "absent" && (got.answer != "found" || prefixAtLeast(got.content, a.raw(4), 1) != nil) {
			t.Fatalf("%d steps before, %v before calls %d and %d: %s (%v)", done, sizes, first, second, got.answer, got.err)
		}
	})
}

// halfway is an archive in the middle of segment 3, and done steps further; rest is what the writer does next.
func halfway(t *testing.T, done int) (memory *storagetest.Memory, a *archive, rest []func()) {
	memory = storagetest.NewMemory()
	a = newArchive(t, memory)
	a.put(first)
	a.link(3, 1000, int(testSize)/2)
	all := steps(a, memory)
	for _, step := range all[:done] {
		step()
	}
	return memory, a, all[done:]
}

// prefixAtLeast checks that got is a beginning of raw of at least have bytes, and zeros behind it.
func prefixAtLeast(got, raw []byte, have int) error {
	if len(got) != len(raw) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(raw))
	}
	n := len(bytes.TrimRight(got, "\x00"))
	if n < have {
		return fmt.Errorf("%d bytes and zeros, %d were durable before", n, have)
	}
	if !bytes.Equal(got[:n], raw[:n]) {
		return fmt.Errorf("other bytes than were stored, of %d", n)
	}
	return nil
}
