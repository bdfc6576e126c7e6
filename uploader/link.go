package uploader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// MaxLink is the most raw bytes that one link holds. It bounds the memory and the time of one acknowledgement.
const MaxLink = 4 << 20

// A Linker puts the links and roll-ups of one lineage's tails, one at a time. It is for one goroutine.
type Linker struct {
	lane    *Lane
	encoder *segment.Encoder
	recent  [15]time.Duration // of the last Puts; zero where there were fewer
	count   int
	running sync.WaitGroup
}

// Linker returns a linker for the lane.
func (l *Lane) Linker() *Linker {
	return &Linker{lane: l, encoder: segment.NewEncoder()}
}

// ErrTaken: somebody else has appended to the tail at that place.
var ErrTaken = errors.New("somebody else has appended to this tail")

// Put appends raw, the bytes of segment n from from on, at most MaxLink of them, to its tail, and returns when they are
// durable. A Put that is not answered in time is repeated beside itself under the same key, which is harmless. raw is read
// only until Put returns. ErrTaken if the place is taken by other bytes or another length.
func (k *Linker) Put(ctx context.Context, n segment.Name, from segment.LSN, raw []byte) error {
	statement := segment.NewStatement(k.lane.uploader.catalog.SystemID(), k.lane.lineage, from, raw)
	object, err := k.encoder.Encode(make([]byte, 0, segment.MaxEncoded(len(raw))), statement, raw)
	if err != nil {
		return err
	}
	k.lane.Linked(n)
	c, start := k.lane.uploader.catalog, time.Now()
	err = k.hedged(ctx, func(ctx context.Context) error {
		err := c.PutLink(ctx, n, statement, object)
		if errors.Is(err, storage.ErrExists) {
			return k.settle(ctx, n, statement)
		}
		return err
	})
	if err != nil {
		return err
	}
	k.recent[k.count%len(k.recent)] = time.Since(start)
	k.count++
	k.lane.uploader.counts.links.Add(1)
	k.lane.uploader.counts.storedBytes.Add(int64(len(object)))
	return nil
}

// settle decides what ErrExists meant: an answer of ours that was lost, or somebody else.
func (k *Linker) settle(ctx context.Context, n segment.Name, ours segment.Statement) error {
	stored, err := k.lane.uploader.catalog.Link(ctx, n, ours)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: it has been deleted meanwhile", ErrTaken)
	}
	if err != nil {
		return fmt.Errorf("compare with what is stored: %w", err)
	}
	if stored != ours {
		return fmt.Errorf("%w: it holds %s", ErrTaken, stored)
	}
	return nil
}

// Wait returns when no Put of this linker is under way any more.
func (k *Linker) Wait() { k.running.Wait() }

// hedged runs put, and a second time beside the first if that has no answer in time; the first success counts, and the
// other one is cancelled.
func (k *Linker) hedged(ctx context.Context, put func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, 2)
	attempt := func() { answers <- put(ctx) }
	k.running.Go(attempt)
	hedge := time.NewTimer(k.patience())
	defer hedge.Stop()
	running := 1
	var last error
	for running > 0 {
		select {
		case err := <-answers:
			if err == nil || errors.Is(err, ErrTaken) {
				return err
			}
			last = err
			running--
		case <-hedge.C:
			running++
			k.running.Go(attempt)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return last
}

// minPatience is the least time after which a link is put again.
const minPatience = 100 * time.Millisecond

// patience is how long an answer may take before the Put is repeated: three times the median.
func (k *Linker) patience() time.Duration {
	if k.count == 0 {
		return 10 * minPatience
	}
	return max(3*k.Median(), minPatience)
}

// Median is how long the last links took to become durable; 0 while none has.
func (k *Linker) Median() time.Duration {
	known := slices.Sorted(slices.Values(k.recent[:min(k.count, len(k.recent))]))
	if len(known) == 0 {
		return 0
	}
	return known[len(known)/2]
}

// Rollup stores raw, the bytes of segment n from from on, as one object that replaces their links for readers. It needs
// room in the arena, and waits for it. One that is there already is success.
func (l *Lane) Rollup(ctx context.Context, n segment.Name, from segment.LSN, raw []byte) error {
	u := l.uploader
	b, err := u.arena.reserve(ctx, segment.MaxEncoded(len(raw)))
	if err != nil {
		return err
	}
	defer b.free()
	statement := segment.NewStatement(u.catalog.SystemID(), l.lineage, from, raw)
	object, err := segment.NewEncoder().Encode(b.empty(), statement, raw)
	if err != nil {
		return err
	}
	b.shrink(len(object))
	err = u.catalog.PutRollup(ctx, n, statement, object)
	if errors.Is(err, storage.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	u.counts.rollups.Add(1)
	u.counts.storedBytes.Add(int64(len(object)))
	return nil
}
