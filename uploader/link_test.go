package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func linkKey(offset int) string {
	return fmt.Sprintf("%d/tail/%s/%s/%08x", uint64(systemID), lineage, number(1), offset)
}

// A slowStore lets the k-th Put of a tail's objects wait, before or after it takes effect, until its context ends at most.
type slowStore struct {
	storage.Store
	before, after []time.Duration

	mu   sync.Mutex
	puts int
}

func (s *slowStore) Put(ctx context.Context, key string, data []byte) error {
	if !strings.Contains(key, "/tail/") {
		return s.Store.Put(ctx, key, data)
	}
	s.mu.Lock()
	k := s.puts
	s.puts++
	s.mu.Unlock()
	if err := sleep(ctx, s.before, k); err != nil {
		return err
	}
	err := s.Store.Put(ctx, key, data)
	if slept := sleep(ctx, s.after, k); slept != nil {
		return slept
	}
	return err
}

func sleep(ctx context.Context, times []time.Duration, k int) error {
	if k >= len(times) {
		return nil
	}
	select {
	case <-time.After(times[k]):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withLinker runs test in a bubble of its own time, with a Linker on the store.
func withLinker(t *testing.T, store storage.Store, test func(t *testing.T, k *Linker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u, err := New(newCatalog(t, store), Options{Buffers: 2}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		k := u.Lane(lineage).Linker()
		test(t, k)
		k.Wait()
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
}

// putLink puts n bytes of content seed at offset of segment 1, spoils them afterwards, and returns how long it took.
func putLink(ctx context.Context, k *Linker, offset, n int, seed uint64) (time.Duration, error) {
	raw, start := make([]byte, n), time.Now()
	fillDense(raw, seed)
	err := k.Put(ctx, number(1), number(1).Start()+segment.LSN(offset), raw)
	fillDense(raw, ^seed) // the caller may do that as soon as Put has returned
	return time.Since(start), err
}

// expectTail compares the tail of segment 1 with pieces of content seeds[i], each of n bytes.
func expectTail(t testing.TB, store storage.Store, n int, seeds ...uint64) {
	t.Helper()
	var want []byte
	for _, seed := range seeds {
		piece := make([]byte, n)
		fillDense(piece, seed)
		want = append(want, piece...)
	}
	got, err := newCatalog(t, store).Tail(context.Background(), lineage, number(1), nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("tail has %d bytes, %v, want the %d that were put", len(got), err, len(want))
	}
}

func TestLinkIsPutTwiceIfUnanswered(t *testing.T) {
	const hour = time.Hour
	for name, tt := range map[string]struct {
		before, after []time.Duration
		took          time.Duration
	}{
		"first stalls, second answers":     {[]time.Duration{hour}, nil, time.Second},
		"first's answer is lost":           {nil, []time.Duration{hour}, time.Second},
		"first answers late, second never": {[]time.Duration{1500 * time.Millisecond, hour}, nil, 1500 * time.Millisecond},
		"both answer, the first first":     {[]time.Duration{1500 * time.Millisecond, time.Second}, nil, 1500 * time.Millisecond},
		"both answer, the second first":    {[]time.Duration{1500 * time.Millisecond, 200 * time.Millisecond}, nil, 1200 * time.Millisecond},
		"both answers late": {
			nil, []time.Duration{5 * time.Second, 100 * time.Millisecond}, 1100 * time.Millisecond,
		},
		"in time": {[]time.Duration{999 * time.Millisecond}, nil, 999 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			memory := storagetest.NewMemory()
			store := &slowStore{Store: watch(t, memory), before: tt.before, after: tt.after}
			withLinker(t, store, func(t *testing.T, k *Linker) {
				took, err := putLink(t.Context(), k, 0, 100, 1)
				if err != nil || took != tt.took {
					t.Errorf("took %s, %v, want %s", took, err, tt.took)
				}
				expectTail(t, memory, 100, 1)
			})
			if want := 1 + min(1, int(tt.took/time.Second)); store.puts != want {
				t.Errorf("%d Puts, want %d", store.puts, want)
			}
		})
	}
}

// TestPatienceFollowsTheMedian: three times what a Put takes, and 100 ms at least.
func TestPatienceFollowsTheMedian(t *testing.T) {
	for name, tt := range map[string]struct{ each, want time.Duration }{
		"fast store": {10 * time.Millisecond, 100 * time.Millisecond},
		"slow store": {200 * time.Millisecond, 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			const links = 20
			before := slices.Repeat([]time.Duration{tt.each}, links)
			before[3], before[7] = 900*time.Millisecond, 900*time.Millisecond // outliers
			before = append(before, time.Hour)
			store := &slowStore{Store: storagetest.NewMemory(), before: before}
			withLinker(t, store, func(t *testing.T, k *Linker) {
				for i := range links - 2 { // two are put twice
					if _, err := putLink(t.Context(), k, 100*i, 100, 1); err != nil {
						t.Fatal(err)
					}
				}
				if took, err := putLink(t.Context(), k, 100*links, 100, 1); err != nil || took != tt.want {
					t.Errorf("took %s, %v, want %s", took, err, tt.want)
				}
			})
		})
	}
}

// TestS30LinkAnswerLost: the store took the link, its answer was lost, the retry says that the key is taken (scenario S30).
func TestS30LinkAnswerLost(t *testing.T) {
	memory := storagetest.NewMemory()
	faulty := storagetest.NewFaulty(memory)
	store := storage.Retry(faulty, storage.RetryPolicy{MinDelay: time.Millisecond})
	withLinker(t, store, func(t *testing.T, k *Linker) {
		call := faulty.Calls(storage.OpPut)
		faulty.Fail(storagetest.Fault{Op: storage.OpPut, Call: call, LostAnswer: true})
		if _, err := putLink(t.Context(), k, 0, 100, 1); err != nil {
			t.Error(err)
		}
		if _, err := putLink(t.Context(), k, 100, 100, 2); err != nil {
			t.Error(err)
		}
		expectTail(t, memory, 100, 1, 2)
	})
}

func TestLinkTakenBySomebodyElse(t *testing.T) {
	memory := storagetest.NewMemory()
	withLinker(t, memory, func(t *testing.T, k *Linker) {
		if _, err := putLink(t.Context(), k, 0, 100, 1); err != nil {
			t.Fatal(err)
		}
		for what, put := range map[string]struct {
			n    int
			seed uint64
		}{"more bytes": {200, 1}, "fewer bytes": {50, 1}, "other bytes": {100, 2}} {
			if _, err := putLink(t.Context(), k, 0, put.n, put.seed); !errors.Is(err, ErrTaken) {
				t.Errorf("%s: %v", what, err)
			}
		}
		expectTail(t, memory, 100, 1)
	})
}

// TestLinkGoneWhenCompared: the tail was deleted, because its segment is durable, between the store's "taken" and our look
// at what is there. That is no error of the stream's: it has to look for the end of the tail again.
func TestLinkGoneWhenCompared(t *testing.T) {
	memory := storagetest.NewMemory()
	faulty := storagetest.NewFaulty(memory)
	withLinker(t, faulty, func(t *testing.T, k *Linker) {
		faulty.FailNext(storage.OpPut, storage.ErrExists)
		if _, err := putLink(t.Context(), k, 0, 100, 1); !errors.Is(err, ErrTaken) {
			t.Errorf("got %v, want ErrTaken", err)
		}
	})
}

// TestLinkEndsWithItsContext: Put returns at once; Wait returns only when the store is done with the data.
func TestLinkEndsWithItsContext(t *testing.T) {
	memory := storagetest.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		store := watch(t, memory)
		u, err := New(newCatalog(t, store), Options{Buffers: 2}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		k := u.Lane(lineage).Linker()
		first, second := store.hold(linkKey(0)), store.hold(linkKey(0))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		took, err := putLink(ctx, k, 0, 100, 1)
		if !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
			t.Errorf("took %s, %v", took, err)
		}
		var waited sync.WaitGroup
		waited.Go(k.Wait)
		done := make(chan struct{})
		go func() { waited.Wait(); close(done) }()
		for _, release := range []func(){first, second} {
			synctest.Wait()
			select {
			case <-done:
				t.Error("Wait returned while a Put was under way")
			default:
			}
			release()
		}
		<-done
	})
}

// TestRollupStoredAlready: the same place twice is success.
func TestRollupStoredAlready(t *testing.T) {
	memory := storagetest.NewMemory()
	u := start(t, memory, Options{Buffers: 2})
	l := u.Lane(lineage)
	raw := make([]byte, 5000)
	fillDense(raw, 1)
	for range 2 {
		if err := l.Rollup(testContext(t), number(1), number(1).Start(), raw); err != nil {
			t.Fatal(err)
		}
	}
	if stats := u.Stats(); stats.Rollups != 1 || stats.InFlightBytes != 0 {
		t.Errorf("%+v", stats)
	}
}
