package uploader

import (
	"context"
	"errors"
	"sync/atomic"
)

// A Buffer holds the raw bytes of one segment. It is counted: whoever needs it beyond the current owner retains it, and it
// returns to the pool when everybody has released it.
type Buffer struct {
	Bytes []byte // one whole segment
	refs  atomic.Int32
	pool  *pool
}

// Retain adds an owner. Only an owner may do so.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Release gives up one ownership; the bytes must not be touched afterwards.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.pool.free <- b
	case n < 0:
		panic("uploader: Buffer released more often than retained")
	}
}

// pool is a fixed number of segment buffers.
type pool struct {
	free chan *Buffer // holds all buffers that nobody owns; has room for all of them
	all  []*Buffer
}

func newPool(n, size int) (*pool, error) {
	p := &pool{free: make(chan *Buffer, n)}
	for range n {
		bytes, err := mapMemory(size)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		b := &Buffer{Bytes: bytes, pool: p}
		p.all = append(p.all, b)
		p.free <- b
	}
	return p, nil
}

// get waits for a free buffer. Its content is whatever it held before.
func (p *pool) get(ctx context.Context) (*Buffer, error) {
	select {
	case b := <-p.free:
		b.refs.Store(1)
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pool) close() error {
	var err error
	for _, b := range p.all {
		err = errors.Join(err, unmapMemory(b.Bytes))
	}
	p.all = nil
	return err
}
