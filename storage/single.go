package storage

import (
	"context"
	"fmt"
	"sync"
)

// An Overwriter is a store that can also write without a condition, for stores without conditional writes.
type Overwriter interface {
	Store
	// Exists reports whether there is an object under the key; an error means that it is not known.
	Exists(ctx context.Context, key string) (found bool, err error)
	// Overwrite is Put without the condition.
	Overwrite(ctx context.Context, key string, data []byte) error
}

// SingleWriter makes a create-only store of one that has no conditional writes: Put asks first. That is
// sound only as long as this process is the only writer of the repository, for nothing guards the time
// between question and write against another; within the process calls for one key take turns. It is an
// error that wraps ErrInvalid if the store can't write without a condition.
func SingleWriter(s Store) (Store, error) {
	o, ok := s.(Overwriter)
	if !ok {
		return nil, fmt.Errorf("%w: --single-writer is for object stores without conditional writes", ErrInvalid)
	}
	return &singleWriter{Overwriter: o, busy: map[string]chan struct{}{}}, nil
}

type singleWriter struct {
	Overwriter
	mu   sync.Mutex
	busy map[string]chan struct{} // keys with a Put under way; closed when it has ended
}

// Put creates the object unless it is there.
func (s *singleWriter) Put(ctx context.Context, key string, data []byte) error {
	if err := s.acquire(ctx, key); err != nil {
		return err
	}
	defer s.release(key)
	found, err := s.Exists(ctx, key)
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("put %s: %w", key, ErrExists)
	}
	return s.Overwrite(ctx, key, data)
}

func (s *singleWriter) acquire(ctx context.Context, key string) error {
	for {
		s.mu.Lock()
		busy, taken := s.busy[key]
		if !taken {
			s.busy[key] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return fmt.Errorf("put %s: %w", key, ctx.Err())
		}
	}
}

func (s *singleWriter) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.busy[key])
	delete(s.busy, key)
}
