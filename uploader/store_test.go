package uploader

import (
	"context"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"

	"walkeep/storage"
)

// A watchedStore fails the test if data changes while its Put is running, and holds the Puts it is told to hold.
type watchedStore struct {
	storage.Store
	t testing.TB

	mu      sync.Mutex
	held    map[string][]chan struct{} // the next Puts of a key wait for these
	entered chan string                // keys of Puts that are held
	running int
	most    int
	bytes   int // of all running Puts
	peak    int
}

func watch(t testing.TB, s storage.Store) *watchedStore {
	return &watchedStore{Store: s, t: t, held: map[string][]chan struct{}{}, entered: make(chan string, 1000)}
}

// hold makes the next Put of key wait, whatever its context says, until release is called.
func (w *watchedStore) hold(key string) (release func()) {
	gate := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[key] = append(w.held[key], gate)
	return sync.OnceFunc(func() { close(gate) })
}

func (w *watchedStore) Put(ctx context.Context, key string, data []byte) error {
	sum := xxhash.Sum64(data)
	w.mu.Lock()
	w.running, w.bytes = w.running+1, w.bytes+len(data)
	w.most, w.peak = max(w.most, w.running), max(w.peak, w.bytes)
	var gate chan struct{}
	if gates := w.held[key]; len(gates) > 0 {
		gate, w.held[key] = gates[0], gates[1:]
	}
	w.mu.Unlock()
	if gate != nil {
		w.entered <- key
		<-gate
	}
	err := w.Store.Put(ctx, key, data)
	if xxhash.Sum64(data) != sum {
		w.t.Errorf("the data of %s changed while it was being put", key)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.bytes = w.running-1, w.bytes-len(data)
	return err
}

// numbers returns how many Puts ran at the same time at most, and how many bytes they had.
func (w *watchedStore) numbers() (puts, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most, w.peak
}
