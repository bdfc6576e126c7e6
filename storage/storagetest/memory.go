package storagetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"walkeep/storage"
)

// memoryPage is how many objects a listing of a Memory store takes at a time.
const memoryPage = 1000

// Memory is a store in memory. It copies what it is given and what it gives.
type Memory struct {
	mu      sync.Mutex
	objects map[string]memoryObject
}

type memoryObject struct {
	data     []byte
	modified time.Time
}

var _ storage.Overwriter = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{objects: map[string]memoryObject{}}
}

// Put creates the object.
func (m *Memory) Put(ctx context.Context, key string, data []byte) error {
	return m.put(ctx, key, data, true)
}

// Overwrite puts the object whether there is one or not.
func (m *Memory) Overwrite(ctx context.Context, key string, data []byte) error {
	return m.put(ctx, key, data, false)
}

func (m *Memory) put(ctx context.Context, key string, data []byte, createOnly bool) error {
	if err := begin(ctx, "put", key); err != nil {
		return err
	}
	if len(data) > storage.MaxObject {
		return fmt.Errorf("put %s: %w: object of %d bytes", key, storage.ErrInvalid, len(data))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.objects[key]; taken && createOnly {
		return fmt.Errorf("put %s: %w", key, storage.ErrExists)
	}
	m.objects[key] = memoryObject{data: slices.Clone(data), modified: time.Now()}
	return nil
}

// Exists reports whether there is an object.
func (m *Memory) Exists(ctx context.Context, key string) (bool, error) {
	if err := begin(ctx, "head", key); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, found := m.objects[key]
	return found, nil
}

// Get appends the object to dst.
func (m *Memory) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	if err := begin(ctx, "get", key); err != nil {
		return dst, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, found := m.objects[key]
	if !found {
		return dst, fmt.Errorf("get %s: %w", key, storage.ErrNotFound)
	}
	return append(dst, o.data...), nil
}

// List yields objects page by page, as a bucket does: what is put meanwhile may show in a later page.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := storage.ValidatePrefix(prefix); err != nil {
			yield(storage.Object{}, fmt.Errorf("list %s: %w", prefix, err))
			return
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(storage.Object{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			page := m.page(prefix, after)
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < memoryPage {
				return
			}
			after = page[len(page)-1].Key
		}
	}
}

func (m *Memory) page(prefix, after string) []storage.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []storage.Object
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			found = append(found, storage.Object{Key: key, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	slices.SortFunc(found, func(a, b storage.Object) int { return strings.Compare(a.Key, b.Key) })
	return found[:min(memoryPage, len(found))]
}

// Delete removes objects.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	failed := map[string]error{}
	for _, key := range keys {
		if err := begin(ctx, "delete", key); err != nil {
			failed[key] = err
			continue
		}
		m.mu.Lock()
		delete(m.objects, key)
		m.mu.Unlock()
	}
	if len(failed) > 0 {
		return &storage.DeleteError{Failed: failed}
	}
	return nil
}

// Keys returns all keys in order.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Corrupt replaces the bytes of an object that is there by what change makes of a copy of them: damage to
// what is stored, which no store interface can do.
func (m *Memory) Corrupt(key string, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, found := m.objects[key]
	if !found {
		panic("storagetest: no object " + key)
	}
	o.data = change(slices.Clone(o.data))
	m.objects[key] = o
}

// begin is what every call checks first.
func begin(ctx context.Context, op, key string) error {
	err := storage.ValidateKey(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, key, err)
	}
	return nil
}
