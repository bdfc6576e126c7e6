package uploader

import (
	"context"
	"fmt"
	"sync"
)

// An arena is a fixed piece of memory for compressed objects in flight. A block is reserved at the size it may need and
// shrunk to the size it took.
type arena struct {
	bytes []byte

	mu     sync.Mutex
	blocks []*block      // in order of offset
	freed  chan struct{} // closed and replaced when room appears
}

// block is a reserved part of an arena.
type block struct {
	arena  *arena
	offset int
	size   int
}

func newArena(size int) (*arena, error) {
	bytes, err := mapMemory(size)
	if err != nil {
		return nil, err
	}
	return &arena{bytes: bytes, freed: make(chan struct{})}, nil
}

// reserve waits until n contiguous bytes are free.
func (a *arena) reserve(ctx context.Context, n int) (*block, error) {
	if n > len(a.bytes) {
		return nil, fmt.Errorf("reserve %d bytes in an arena of %d", n, len(a.bytes))
	}
	for {
		b, freed := a.try(n)
		if b != nil {
			return b, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try reserves the first gap that is large enough; without one it returns what to wait for.
func (a *arena) try(n int) (*block, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	end := 0
	for i := 0; i <= len(a.blocks); i++ {
		limit := len(a.bytes)
		if i < len(a.blocks) {
			limit = a.blocks[i].offset
		}
		if limit-end >= n {
			b := &block{arena: a, offset: end, size: n}
			a.blocks = append(a.blocks, nil)
			copy(a.blocks[i+1:], a.blocks[i:])
			a.blocks[i] = b
			return b, nil
		}
		if i < len(a.blocks) {
			end = a.blocks[i].offset + a.blocks[i].size
		}
	}
	return nil, a.freed
}

// empty is the block's memory as a slice of no length and the block's capacity.
func (b *block) empty() []byte {
	return b.arena.bytes[b.offset : b.offset : b.offset+b.size]
}

// shrink keeps the first n bytes.
func (b *block) shrink(n int) {
	b.arena.mu.Lock()
	defer b.arena.mu.Unlock()
	b.size = min(b.size, n)
	b.arena.signal()
}

// free gives the block back. Nobody may read it any more.
func (b *block) free() {
	a := b.arena
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.blocks {
		if a.blocks[i] == b {
			a.blocks = append(a.blocks[:i], a.blocks[i+1:]...)
			a.signal()
			return
		}
	}
	panic("uploader: block freed twice")
}

// signal is called with mu held.
func (a *arena) signal() {
	close(a.freed)
	a.freed = make(chan struct{})
}

// used returns the reserved bytes and blocks.
func (a *arena) used() (bytes, blocks int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.blocks {
		bytes += b.size
	}
	return bytes, len(a.blocks)
}

func (a *arena) close() error {
	err := unmapMemory(a.bytes)
	a.bytes = nil
	return err
}
