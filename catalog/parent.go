package catalog

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"walkeep/segment"
	"walkeep/storage"
)

// A Parent is what a lineage branched off from.
type Parent struct {
	Lineage segment.Lineage // zero if its history is not archived
	Switch  segment.LSN     // the first byte that is not the parent's
}

// Parent finds the lineage that l continues: a promotion copies the parent's history and adds a line
// (access/transam/timeline.c: writeTimeLineHistory). ok is false for one that has no parent. storage.ErrNotFound if the
// history of l itself is not archived.
func (c *Catalog) Parent(ctx context.Context, l segment.Lineage) (p Parent, ok bool, err error) {
	h, err := c.History(ctx, l)
	if err != nil {
		return p, false, err
	}
	forks, err := segment.ParseHistory(h.Content)
	if err != nil || len(forks) == 0 {
		return p, false, err
	}
	last := forks[len(forks)-1]
	p.Switch = last.Switch
	lineages, err := c.Lineages(ctx, last.Timeline)
	if err != nil {
		return p, false, err
	}
	for _, candidate := range lineages {
		parent, err := c.History(ctx, candidate)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return p, false, err
		}
		before, err := segment.ParseHistory(parent.Content)
		if err != nil {
			return p, false, err
		}
		if bytes.HasPrefix(h.Content, parent.Content) && slices.Equal(before, forks[:len(forks)-1]) {
			p.Lineage = candidate
		}
	}
	return p, true, nil
}
