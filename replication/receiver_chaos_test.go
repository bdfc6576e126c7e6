package replication

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// A chaosStore fails and delays calls at random, before and after they take effect, until it is told to stop.
type chaosStore struct {
	storage.Store
	mu     sync.Mutex
	random *rand.Rand
	calm   bool
}

// fate draws what becomes of a call.
func (s *chaosStore) fate() (delay time.Duration, before, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calm {
		return 0, false, false
	}
	delay = time.Duration(s.random.IntN(60)) * time.Millisecond
	if s.random.IntN(40) == 0 {
		delay = time.Duration(s.random.IntN(20_000)) * time.Millisecond
	}
	return delay, s.random.IntN(15) == 0, s.random.IntN(15) == 0
}

func (s *chaosStore) call(ctx context.Context, do func() error) error {
	delay, before, after := s.fate()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if before {
		return storagetest.ErrInjected
	}
	err := do()
	if after {
		return storagetest.ErrInjected
	}
	return err
}

func (s *chaosStore) Put(ctx context.Context, key string, data []byte) error {
	return s.call(ctx, func() error { return s.Store.Put(ctx, key, data) })
}

func (s *chaosStore) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	got := dst
	err := s.call(ctx, func() (err error) {
		got, err = s.Store.Get(ctx, key, dst)
		return err
	})
	if err != nil {
		return dst, err
	}
	return got, nil
}

func (s *chaosStore) Delete(ctx context.Context, keys ...string) error {
	return s.call(ctx, func() error { return s.Store.Delete(ctx, keys...) })
}

func (s *chaosStore) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := s.call(ctx, func() error { return nil }); err != nil {
			yield(storage.Object{}, err)
			return
		}
		s.Store.List(ctx, prefix, after)(yield)
	}
}

// TestAnyWeather: whatever happens to the network, the store, the receivers and the server, in whatever order: no
// acknowledgement precedes its Put, and in the end all is archived. Two receivers archive the same WAL. WALKEEP_SEED chooses
// another beginning, WALKEEP_LONG makes it many runs.
func TestAnyWeather(t *testing.T) {
	seed, runs := uint64(time.Now().UnixNano()), 8
	if s := os.Getenv("WALKEEP_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		runs = 1
	}
	if os.Getenv("WALKEEP_LONG") != "" {
		runs = 500
	}
	for range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { weather(t, rand.New(rand.NewPCG(seed, 1))) })
		})
		seed++
	}
}

// pair is a server and the receiver that is attached to it, if there is one.
type pair struct {
	server *fakeServer
	rig    *rig
}

func weather(t *testing.T, random *rand.Rand) {
	wal := newWAL(oneMB)
	wal.record(1000)
	ledger := newLedger()
	chaos := &chaosStore{Store: ledger, random: rand.New(rand.NewPCG(random.Uint64(), 2))}
	store := storage.Retry(chaos, storage.RetryPolicy{MinDelay: 10 * time.Millisecond, MaxDelay: time.Second})
	pairs := []*pair{{server: newServer(t, copyOf(wal))}, {server: newServer(t, copyOf(wal))}}
	start := func(p *pair) {
		p.rig = newRig(t, p.server, ledger, func(o *ReceiverOptions) {
			o.Store, o.Uploader.Buffers = store, 2+random.IntN(3)
		})
		p.rig.run()
	}
	for range 60 {
		p := pairs[random.IntN(len(pairs))]
		switch random.IntN(9) {
		case 0:
			p.server.cut()
		case 1:
			if p.rig != nil {
				p.rig.kill()
				p.rig = nil
			}
		case 2:
			if p.rig != nil {
				p.rig.end()
				p.rig = nil
			}
		case 3, 4:
			if p.rig == nil {
				start(p)
			}
		case 5:
			names := []string{"", "walkeep"}[random.IntN(2)]
			p.server.do(func() { p.server.settings["synchronous_standby_names"] = names })
		default:
			from := wal.end()
			switch random.IntN(8) {
			case 0:
				wal.switchSegment()
			case 1:
				wal.fill(wal.end()+1<<20, 0)
			default:
				wal.record(random.IntN(50_000))
			}
			for _, p := range pairs {
				p.server.write(func(w *walWriter) { w.buf = append(w.buf, wal.between(from, wal.end())...) })
			}
		}
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
	chaos.mu.Lock()
	chaos.calm = true
	chaos.mu.Unlock()
	for _, p := range pairs {
		if p.rig == nil {
			start(p)
		}
		p.rig.awaitAck(wal.end())
		p.rig.end()
		p.rig.expectArchived(wal.start, wal.end())
	}
}
