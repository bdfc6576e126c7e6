package uploader

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"walkeep/storage/storagetest"
)

func TestPoolGivesEachBufferToOneOwner(t *testing.T) {
	ctx := testContext(t)
	const buffers = 3
	p, err := newPool(buffers, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				b, err := p.get(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				b.Bytes[0] = byte(i) // the race detector sees a second owner
				b.Retain()
				var second sync.WaitGroup
				second.Go(func() {
					if b.Bytes[0] != byte(i) {
						t.Error("a buffer was given away while somebody retained it")
					}
					b.Release()
				})
				if rand.IntN(2) == 0 {
					second.Wait()
				}
				b.Release()
				second.Wait()
			}
		})
	}
	group.Wait()
	if n := len(p.free); n != buffers {
		t.Errorf("%d buffers are free at the end, want %d", n, buffers)
	}
}

func TestPoolIsFixed(t *testing.T) {
	ctx := testContext(t)
	u := start(t, storagetest.NewMemory(), Options{Buffers: 2})
	a, err := u.Buffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.Buffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := u.Buffer(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("third of two buffers: %v", err)
	}
	a.Release()
	if c, err := u.Buffer(ctx); err != nil || c != a {
		t.Errorf("got %p, %v, want %p", c, err, a)
	}
	a.Release()
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("released more often than retained without a panic")
		}
	}()
	b.Release()
}
