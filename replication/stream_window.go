package replication

import (
	"sync"

	"walkeep/segment"
	"walkeep/uploader"
)

// window is what check gives link to see: the segment being filled, as far as it is checked, and in synchronous mode the one
// before too, until it is durable. It owns its buffers.
type window struct {
	kicked chan struct{} // something has changed; capacity 1

	mu       sync.Mutex
	keep     int // how many segments
	segments []openSegment
	demanded segment.LSN // everything before is wanted durable at once
}

// openSegment is a segment with its checked bytes [0, checked).
type openSegment struct {
	name    segment.Name
	buf     *uploader.Buffer
	checked int
}

func newWindow() *window {
	return &window{kicked: make(chan struct{}, 1), keep: 1}
}

// setKeep says whether commits wait for the last bytes of a segment too: then the segment before the current one stays.
func (w *window) setKeep(synchronous bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep = 1
	if synchronous {
		w.keep = 2
	}
}

func (w *window) kick() {
	select {
	case w.kicked <- struct{}{}:
	default:
	}
}

// add shows a checked chunk.
func (w *window) add(c chunk) {
	w.mu.Lock()
	n := len(w.segments)
	if n == 0 || w.segments[n-1].name != c.name {
		c.buf.Retain()
		w.segments = append(w.segments, openSegment{name: c.name, buf: c.buf})
		n++
	}
	w.segments[n-1].checked = c.to
	keep := w.keep
	if keep == 1 && c.full() {
		keep = 0 // it is on its way by itself: links of it are for commits that wait
	}
	for len(w.segments) > keep {
		w.dropFirst()
	}
	w.mu.Unlock()
	w.kick()
}

// dropFirst is called with mu held.
func (w *window) dropFirst() {
	w.segments[0].buf.Release()
	w.segments = append(w.segments[:0], w.segments[1:]...)
}

// demand asks for everything before lsn to be durable at once.
func (w *window) demand(lsn segment.LSN) {
	w.mu.Lock()
	w.demanded = max(w.demanded, lsn)
	w.mu.Unlock()
	w.kick()
}

// first returns the oldest segment in the window; the caller must release its buffer. Segments that end at or before
// durable are dropped.
func (w *window) first(durable segment.LSN) (open openSegment, demanded segment.LSN, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.segments) > 0 && w.segments[0].name.End() <= durable {
		w.dropFirst()
	}
	if len(w.segments) == 0 {
		return openSegment{}, w.demanded, false
	}
	open = w.segments[0]
	open.buf.Retain()
	return open, w.demanded, true
}

func (w *window) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.segments) > 0 {
		w.dropFirst()
	}
}
