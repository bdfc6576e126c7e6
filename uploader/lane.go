package uploader

import (
	"sync"

	"walkeep/segment"
)

// A Lane is the way of one lineage's WAL into the repository. It outlives the streams that feed it: segments handed over
// stay on their way when a connection is lost, and the next stream goes on behind them.
type Lane struct {
	uploader *Uploader
	lineage  segment.Lineage

	mu      sync.Mutex
	next    segment.LSN              // end of the last segment handed over; 0 if none was
	pending map[segment.LSN]struct{} // starts of segments handed over and not yet durable
	linked  map[segment.LSN]struct{} // starts of segments with links, to be deleted behind them
	mark    *Watermark
	err     error
	failed  chan struct{} // closed when err is set
	idle    chan struct{} // closed and replaced when pending becomes empty
}

// Lane opens the way for a lineage.
func (u *Uploader) Lane(lineage segment.Lineage) *Lane {
	return &Lane{
		uploader: u, lineage: lineage,
		pending: map[segment.LSN]struct{}{}, linked: map[segment.LSN]struct{}{},
		failed: make(chan struct{}), idle: make(chan struct{}),
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
	l.pending[name.Start()] = struct{}{}
	l.mu.Unlock()
	l.uploader.jobs <- job{lane: l, name: name, buf: buf, hash: hash}
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
	delete(l.pending, name.Start())
	_, dropTail = l.linked[name.Start()]
	delete(l.linked, name.Start())
	l.mark.Durable(name.Start(), name.End())
	if len(l.pending) == 0 {
		close(l.idle)
		l.idle = make(chan struct{})
	}
	return dropTail
}

// Idle returns a channel that is closed when nothing handed over is waiting to become durable.
func (l *Lane) Idle() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	return l.idle
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
