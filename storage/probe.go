package storage

import (
	"context"
	"errors"
	"fmt"
)

// ProbeCreateOnly finds out whether the store honours create-only writes: it puts key, which the caller has
// just put or read, once more with the same data. Nil means it does. An error that wraps
// ErrNoConditionalWrites means it does not; any other error means that it could not be found out.
func ProbeCreateOnly(ctx context.Context, s Store, key string, data []byte) error {
	err := s.Put(ctx, key, data)
	switch {
	case errors.Is(err, ErrExists):
		return nil
	case err == nil:
		return fmt.Errorf("%w: it let %s be written twice; nothing would keep two receivers from overwriting each "+
			"other: use a store that has them, or give --single-writer and make sure there is only one", ErrNoConditionalWrites, key)
	default:
		return fmt.Errorf("probe for conditional writes: %w", err)
	}
}
