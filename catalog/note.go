package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// A note is a decision of an operator, written once.
type note struct {
	Format int       `json:"format"` // 1
	Reason string    `json:"reason"`
	Noted  time.Time `json:"noted"` // informational
}

func (c *Catalog) putNote(ctx context.Context, key Key, reason string, now time.Time) error {
	data, err := json.Marshal(note{Format: 1, Reason: reason, Noted: now.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := c.store.Put(ctx, key, data); err != nil && !errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (c *Catalog) hasNote(ctx context.Context, key Key) (bool, error) {
	_, err := c.store.Get(ctx, key, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get %s: %w", key, err)
	}
	return true, nil
}

// Abandon notes that a lineage is not to be followed any more: a rival of the same timeline number, or a promotion by
// mistake. Its WAL stays. It can't be taken back.
func (c *Catalog) Abandon(ctx context.Context, l segment.Lineage, reason string, now time.Time) error {
	return c.putNote(ctx, c.keys.abandoned(l), reason, now)
}

// Abandoned reports whether a lineage was abandoned.
func (c *Catalog) Abandoned(ctx context.Context, l segment.Lineage) (bool, error) {
	return c.hasNote(ctx, c.keys.abandoned(l))
}

// AcknowledgeGap notes that an operator knows of a gap, so that it and its parts are no alarm any more. The WAL stays lost.
func (c *Catalog) AcknowledgeGap(ctx context.Context, g Gap, reason string, now time.Time) error {
	return c.putNote(ctx, c.keys.acknowledged(g), reason, now)
}
