package uploader

import (
	"context"
	"sync"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// A Lane is the way of one lineage's WAL into the repository. It outlives the streams that feed it: segments handed over
// stay on their way when a connection is lost, and the next stream goes on behind them.
type Lane struct {
	uploader *Uploader
	lineage  segment.Lineage

	mu      sync.Mutex
	next    segment.LSN               // end of the last segment handed over; 0 if none was
	pending map[segment.LSN]time.Time // starts of segments handed over and not yet durable: since when
	linked  map[segment.LSN]struct{}  // starts of segments with links, to be deleted behind them
	took    time.Duration             // that segments took of late from hand-over to durable
	mark    *Watermark
	err     error
	failed  chan struct{} // closed when err is set
	settled chan struct{} // closed and replaced when a segment leaves pending
}

// Lane opens the way for a lineage.
func (u *Uploader) Lane(lineage segment.Lineage) *Lane {
	return &Lane{
		uploader: u, lineage: lineage,
		pending: map[segment.LSN]time.Time{}, linked: map[segment.LSN]struct{}{},
		failed: make(chan struct{}), settled: make(chan struct{}),
	}
}

// Lineage is the lineage that the lane was opened for.
func (l *Lane) Lineage() segment.Lineage { return l.lineage }

// Next is where the next stream has to start: the end of the last segment handed over. ok is false if there was none.
func (l *Lane) Next() (start segment.LSN, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next, l.next != 0
}

// Begin starts the Watermark of a new stream that begins at start, a segment boundary: at the first segment that was handed
// over by an earlier stream and is not yet durable, else at start. Everything before start must be durable or pending.
func (l *Lane) Begin(start segment.LSN) *Watermark {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := start
	for lsn := range l.pending {
		first = min(first, lsn)
	}
	l.mark = NewWatermark(first)
	size := segment.LSN(l.uploader.catalog.SegmentSize())
	for lsn := first; lsn < start; lsn += size {
		if _, pending := l.pending[lsn]; !pending {
			l.mark.Durable(lsn, lsn+size)
		}
	}
	return l.mark
}

// Segment hands over a full and checked segment with the XXH64 of its bytes: one ownership of buf goes with it. Segments
// must come in order.
func (l *Lane) Segment(name segment.Name, buf *Buffer, hash uint64) {
	l.mu.Lock()
	l.next = name.End()
	l.pending[name.Start()] = time.Now()
	l.mu.Unlock()
	l.uploader.jobs <- job{lane: l, name: name, buf: buf, hash: hash}
}

// Took is how long segments took of late from hand-over to durable; 0 while none has.
func (l *Lane) Took() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// Linked notes that a segment has, or may have, a tail, which is deleted when the segment is durable.
func (l *Lane) Linked(name segment.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.linked[name.Start()] = struct{}{}
}

// stored notes that a segment is durable, and reports whether it has a tail to delete.
func (l *Lane) stored(name segment.Name) (dropTail bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since, ok := l.pending[name.Start()]; ok {
		l.took = (3*l.took + time.Since(since)) / 4
	}
	delete(l.pending, name.Start())
	_, dropTail = l.linked[name.Start()]
	delete(l.linked, name.Start())
	l.mark.Durable(name.Start(), name.End())
	close(l.settled)
	l.settled = make(chan struct{})
	return dropTail
}

// WaitIdle waits until nothing handed over is waiting to become durable. It returns Err if the lane has failed.
func (l *Lane) WaitIdle(ctx context.Context) error {
	return l.wait(ctx, func() bool { return len(l.pending) == 0 })
}

// waitNear waits until fewer than catalog.MaxAhead segments lie between name and the first one that is not durable: a
// Put that hangs must not be overtaken so far that the search for the Frontier begins behind it.
func (l *Lane) waitNear(ctx context.Context, name segment.Name) error {
	return l.wait(ctx, func() bool {
		first := name.Start()
		for lsn := range l.pending {
			first = min(first, lsn)
		}
		return name.Number-name.Size.Number(first) < catalog.MaxAhead
	})
}

// wait waits until reached, which is called with mu held, returns true, or the lane has failed.
func (l *Lane) wait(ctx context.Context, reached func() bool) error {
	for {
		l.mu.Lock()
		done, settled, err := reached(), l.settled, l.err
		l.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-settled:
		case <-l.failed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fail stops the lane: what it was handed can't become durable.
func (l *Lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
}

// Failed is closed when the lane has stopped for good; Err says why: a *catalog.ForkError, for one.
func (l *Lane) Failed() <-chan struct{} { return l.failed }

// Err is why the lane has failed, or nil.
func (l *Lane) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
