package catalog

import (
	"context"
	"fmt"
	"strings"

	"walkeep/segment"
)

// An OpenGap is what of a recorded gap was not stored since: all of it, or a piece.
type OpenGap struct {
	Gap
	Acknowledged bool `json:"acknowledged"` // an operator knows of it
}

// OpenGaps returns the gaps whose WAL is still missing or damaged, in order of lineage and beginning: what was stored since, with
// push, is taken off. One LIST if no gap was ever recorded.
func (c *Catalog) OpenGaps(ctx context.Context) ([]OpenGap, error) {
	all, err := c.Gaps(ctx)
	if err != nil {
		return nil, err
	}
	var open []OpenGap
	known := map[segment.Lineage][]Gap{}
	for _, g := range all {
		pieces := []Gap{g}
		if g.Kind.breaks() {
			if pieces, err = c.missing(ctx, g); err != nil {
				return nil, err
			}
		}
		if _, asked := known[g.Lineage]; !asked && len(pieces) > 0 {
			if known[g.Lineage], err = c.acknowledgedRanges(ctx, g.Lineage); err != nil {
				return nil, err
			}
		}
		for _, p := range pieces {
			open = append(open, OpenGap{Gap: p, Acknowledged: covered(p, known[g.Lineage])})
		}
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
	from, before := g.From, segment.NameAt(g.Lineage.Timeline, g.From, c.size)
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

// acknowledgedRanges returns the ranges of a lineage that an operator has acknowledged to be missing.
func (c *Catalog) acknowledgedRanges(ctx context.Context, l segment.Lineage) ([]Gap, error) {
	prefix := c.keys.acknowledgements(l)
	var all []Gap
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		first, last, ok := strings.Cut(strings.TrimPrefix(object.Key, prefix), "-")
		from, err := parseLast(first, "", "", 16)
		if err != nil || !ok {
			return nil, fmt.Errorf("object %q has no place here", object.Key)
		}
		to, err := parseLast(last, "", ".json", 16)
		if err != nil {
			return nil, fmt.Errorf("object %q has no place here", object.Key)
		}
		all = append(all, Gap{Lineage: l, From: segment.LSN(from), To: segment.LSN(to)})
	}
	return all, nil
}

func covered(g Gap, ranges []Gap) bool {
	for _, r := range ranges {
		if r.From <= g.From && g.To <= r.To {
			return true
		}
	}
	return false
}
