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

// OpenGaps returns the gaps whose WAL is still missing, in order of lineage and beginning: what was stored since, with push,
// is taken off.
func (c *Catalog) OpenGaps(ctx context.Context) ([]Gap, error) {
	all, err := c.Gaps(ctx)
	if err != nil {
		return nil, err
	}
	var open []Gap
	for _, g := range all {
		if !g.Kind.breaks() {
			open = append(open, g)
			continue
		}
		missing, err := c.missing(ctx, g)
		if err != nil {
			return nil, err
		}
		open = append(open, missing...)
	}
	return open, nil
}

// missing returns what of a gap is still not stored: the gap, narrowed or in pieces; nothing if it is healed. A piece keeps the
// gap's reason.
func (c *Catalog) missing(ctx context.Context, g Gap) ([]Gap, error) {
	var open []Gap
	piece := func(from, to segment.LSN) {
		if from < to {
			p := g
			p.From, p.To = from, to
			open = append(open, p)
		}
	}
	first := segment.NameAt(g.Lineage.Timeline, g.From, c.size)
	from, before := g.From, first
	before.Number--
	for n, err := range c.segmentsAfter(ctx, g.Lineage, c.keys.segment(g.Lineage, before)) {
		if err != nil {
			return nil, err
		}
		if n.Start() >= g.To {
			break
		}
		piece(from, min(n.Start(), g.To))
		from = max(from, n.End())
	}
	piece(from, g.To)
	return open, nil
}
