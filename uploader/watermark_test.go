package uploader

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"walkeep/segment"
)

// TestWatermarkIsTheContiguousPrefix: whatever order, overlap and repetition, LSN is the first byte of a bitmap that is not
// set; it never goes back, and Moved tells of each step.
func TestWatermarkIsTheContiguousPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64
		start := segment.LSN(rapid.IntRange(0, 20).Draw(t, "start"))
		w := NewWatermark(start)
		var durable [size + 1]bool
		for i := range start {
			durable[i] = true
		}
		prefix := func() (n segment.LSN) {
			for durable[n] {
				n++
			}
			return n
		}
		for range rapid.IntRange(0, 60).Draw(t, "intervals") {
			from := rapid.IntRange(0, size-1).Draw(t, "from")
			to := rapid.IntRange(from, min(size, from+16)).Draw(t, "to")
			before, moved := w.LSN(), w.Moved()
			w.Durable(segment.LSN(from), segment.LSN(to))
			for i := from; i < to; i++ {
				durable[i] = true
			}
			want := prefix()
			if got := w.LSN(); got != want {
				t.Fatalf("after [%d, %d): %d, want %d", from, to, got, want)
			}
			select {
			case <-moved:
				if want == before {
					t.Fatalf("after [%d, %d): Moved is closed at %d still", from, to, want)
				}
			default:
				if want != before {
					t.Fatalf("after [%d, %d): Moved is not closed, at %d after %d", from, to, want, before)
				}
			}
		}
	})
}

// TestWatermarkOfManyWriters: intervals that arrive at the same time all count.
func TestWatermarkOfManyWriters(t *testing.T) {
	const writers, each = 8, 200
	w := NewWatermark(0)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for j := range each {
				from := segment.LSN(j*writers + i)
				w.Durable(from, from+1)
			}
		})
	}
	awaitMark(t, w, writers*each)
	group.Wait()
}
