package replication

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"walkeep/segment"
	"walkeep/storage/storagetest"
)

// confirmed is WAL that a Put has made durable.
type confirmed struct {
	key      string
	from, to segment.LSN
}

// A ledger is a store that remembers which WAL it has confirmed.
type ledger struct {
	*storagetest.Memory
	mu     sync.Mutex
	ranges []confirmed // of segments, links, roll-ups and gaps, in the order of their Puts
	order  []string    // keys put
	onPut  func(key string)
	onDrop func(keys []string)
	gates  map[string]chan struct{} // text in a key -> what its Puts wait for
}

func newLedger() *ledger {
	return &ledger{Memory: storagetest.NewMemory(), gates: map[string]chan struct{}{}}
}

// hold lets Puts of keys with the text in them wait until release is called.
func (l *ledger) hold(text string) (release func()) {
	gate := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates[text] = gate
	return sync.OnceFunc(func() {
		close(gate)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.gates, text)
	})
}

// pass waits until nothing holds the key.
func (l *ledger) pass(ctx context.Context, key string) error {
	l.mu.Lock()
	var gate chan struct{}
	for text, g := range l.gates {
		if strings.Contains(key, text) {
			gate = g
		}
	}
	l.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *ledger) Put(ctx context.Context, key string, data []byte) error {
	if err := l.pass(ctx, key); err != nil {
		return err
	}
	if err := l.Memory.Put(ctx, key, data); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order = append(l.order, key)
	if strings.Contains(key, "/wal/") || strings.Contains(key, "/tail/") {
		s, _, err := segment.ParseStatement(data)
		if err != nil {
			return err
		}
		l.ranges = append(l.ranges, confirmed{key, s.From, s.To})
	}
	if strings.Contains(key, "/gap/") && bytes.Contains(data, []byte(`"lost"`)) {
		var from, to segment.LSN
		if _, err := fmt.Sscanf(key[strings.LastIndex(key, "/")+1:], "%016x-%016x.json", &from, &to); err != nil {
			return err
		}
		l.ranges = append(l.ranges, confirmed{key, from, to})
	}
	if l.onPut != nil {
		l.onPut(key)
	}
	return nil
}

func (l *ledger) Delete(ctx context.Context, keys ...string) error {
	if l.onDrop != nil {
		l.onDrop(keys)
	}
	return l.Memory.Delete(ctx, keys...)
}

// forget takes an object out of the account: it has been damaged.
func (l *ledger) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ranges = slices.DeleteFunc(l.ranges, func(c confirmed) bool { return c.key == key })
}

// durable returns the end of the contiguous WAL from the first byte ever confirmed on. It knows nothing of the catalog.
func (l *ledger) durable() (end segment.LSN) {
	l.mu.Lock()
	sorted := slices.Clone(l.ranges)
	l.mu.Unlock()
	slices.SortFunc(sorted, func(a, b confirmed) int { return int(int64(a.from) - int64(b.from)) })
	for _, c := range sorted {
		if end != 0 && c.from > end {
			break
		}
		end = max(end, c.to)
	}
	return end
}

// keys returns the keys with the text in them, in the order they were put.
func (l *ledger) keys(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, key := range l.order {
		if strings.Contains(key, text) {
			found = append(found, key)
		}
	}
	return found
}
