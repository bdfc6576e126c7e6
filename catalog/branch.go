package catalog

import (
	"context"
	"fmt"

	"walkeep/segment"
)

// Branch is one lineage of which something is archived, with the line of its ancestors.
type Branch struct {
	Lineage   segment.Lineage
	Forks     []segment.Fork // where its ancestors ended, oldest first
	Begin     segment.LSN    // of what is archived
	Frontier  segment.LSN
	Abandoned bool
}

// Branches returns every lineage of which something is archived, in order of timeline.
func (c *Catalog) Branches(ctx context.Context) ([]Branch, error) {
	lineages, err := c.AllLineages(ctx)
	if err != nil {
		return nil, err
	}
	var all []Branch
	for _, l := range lineages {
		b := Branch{Lineage: l}
		var ok bool
		if b.Begin, ok, err = c.Started(ctx, l); err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if b.Frontier, _, err = c.Frontier(ctx, l); err != nil {
			return nil, err
		}
		if b.Forks, err = c.forks(ctx, l); err != nil {
			return nil, err
		}
		if b.Abandoned, err = c.Abandoned(ctx, l); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (c *Catalog) forks(ctx context.Context, l segment.Lineage) ([]segment.Fork, error) {
	h, err := c.History(ctx, l)
	if err != nil {
		return nil, err
	}
	forks, err := segment.ParseHistory(h.Content)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", l, err)
	}
	return forks, nil
}
