package restore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"walkeep/restore"
	"walkeep/segment"
	"walkeep/storage/disk"
)

// position is how far a writer has got: everything before it is durable.
type position struct {
	segment atomic.Int64 // whole ones are before it
	offset  atomic.Int64 // of the tail of that one
}

func (p *position) durable(n segment.Number) int {
	offset := p.offset.Load() // before the segment: it may only be too small then
	switch at := segment.Number(p.segment.Load()); {
	case n < at:
		return int(testSize)
	case n == at:
		return int(offset)
	}
	return 0
}

// S44: fetches into files while a writer links, rolls up, stores and deletes tails in the same directory store. No file is
// ever short or wrong, and what was durable before a fetch is in it.
func TestS44FetchesBesideAWriter(t *testing.T) {
	fetches := 800
	if os.Getenv("WALKEEP_TORTURE") != "" {
		fetches = 10_000
	}
	store, err := disk.Create(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive(t, store)
	var at position
	at.segment.Store(first)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := segment.Number(first); ; n++ {
			select {
			case <-done:
				return
			default:
			}
			writeSegment(a, n, &at)
		}
	})
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(8)
	answers := make([]atomic.Int64, 3)
	for i := range fetches {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			return fetchBeside(a, &at, filepath.Join(t.TempDir(), fmt.Sprint(i)), answers)
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	writer.Wait()
	t.Logf("%d whole, %d of a tail, %d absent; the writer reached segment %d", answers[0].Load(), answers[1].Load(), answers[2].Load(), at.segment.Load())
	for i, what := range []string{"whole segment", "tail", "absent file"} {
		if answers[i].Load() == 0 {
			t.Errorf("no %s was fetched: the test tests nothing", what)
		}
	}
}

// writeSegment does with segment n what a receiver does. Contents repeat after a while.
func writeSegment(a *archive, n segment.Number, at *position) {
	ends := []int{1000, 100_000, 200_000, 900_000}
	raw := a.repeated(n)
	for i, end := range ends {
		from := 0
		if i > 0 {
			from = ends[i-1]
		}
		a.linkRaw(n, raw, from, end)
		at.offset.Store(int64(end))
	}
	a.rollupRaw(n, raw, 0, ends[1])
	a.putRaw(n, raw)
	at.offset.Store(0)
	at.segment.Store(int64(n) + 1)
	a.dropTail(n)
}

// fetchBeside fetches a file near the writer's place to path.
func fetchBeside(a *archive, at *position, path string, answers []atomic.Int64) error {
	n := segment.Number(max(first, int(at.segment.Load())-1+rand.IntN(3)))
	have, raw := at.durable(n), a.repeated(n)
	content, absent, err := restore.NewFetcher(a.catalog, restore.FetchOptions{Mode: restore.ModeRecovery}).Fetch(context.Background(), a.name(n).String(), nil)
	switch {
	case err != nil:
		return fmt.Errorf("segment %d: %w", n, err)
	case absent.Proven() && have > 0:
		return fmt.Errorf("segment %d: %s; %d bytes were durable before", n, absent, have)
	case absent.Proven():
		answers[2].Add(1)
		return nil
	}
	if err := restore.WriteFile(path, content); err != nil {
		return err
	}
	written, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := prefixAtLeast(written, raw, have); err != nil {
		return fmt.Errorf("segment %d: %w", n, err)
	}
	if written[len(written)-1] == 0 {
		answers[1].Add(1)
	} else {
		answers[0].Add(1)
	}
	return os.Remove(path)
}
