package uploader

import (
	"sync"

	"walkeep/segment"
)

// A Watermark computes how far WAL is durable without a hole: the contiguous prefix of the durable intervals. One belongs
// to one stream, and only moves forward. It is safe for concurrent use.
type Watermark struct {
	mu      sync.Mutex
	durable segment.LSN
	ahead   map[segment.LSN]segment.LSN // durable intervals beyond durable: from -> to
	moved   chan struct{}               // closed and replaced when durable moves
}

// NewWatermark starts with everything before start durable, or somebody else's business.
func NewWatermark(start segment.LSN) *Watermark {
	return &Watermark{durable: start, ahead: map[segment.LSN]segment.LSN{}, moved: make(chan struct{})}
}

// Durable says that the bytes [from, to) are durable. Intervals may come in any order, overlap and repeat.
func (w *Watermark) Durable(from, to segment.LSN) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to <= w.durable {
		return
	}
	if from > w.durable {
		w.ahead[from] = max(w.ahead[from], to)
		return
	}
	w.durable = to
	for again := true; again; {
		again = false
		for from, to := range w.ahead {
			if from <= w.durable {
				delete(w.ahead, from)
				w.durable = max(w.durable, to)
				again = true
			}
		}
	}
	close(w.moved)
	w.moved = make(chan struct{})
}

// LSN is the first byte that is not durable, or before which something is not.
func (w *Watermark) LSN() segment.LSN {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Moved is closed when LSN moves on from what it is now.
func (w *Watermark) Moved() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.moved
}
