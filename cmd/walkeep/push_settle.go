package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// settle finds out, when all files are looked at, what they changed: where the archive begins, and what is missing in it.
func (p *pusher) settle(ctx context.Context, before []catalog.OpenGap) error {
	out := &p.report.output
	out.SystemID = strconv.FormatUint(p.catalog.SystemID(), 10)
	for l, names := range p.report.segments {
		slices.SortFunc(names, func(a, b segment.Name) int { return int(int64(a.Number) - int64(b.Number)) })
		if err := p.extend(ctx, l, names[0]); err != nil {
			return err
		}
		if p.report.many() || p.options.acceptGaps {
			if err := p.findMissing(ctx, l, names); err != nil {
				return err
			}
		}
	}
	if len(before) == 0 && len(out.Missing) == 0 {
		return nil
	}
	after, err := p.catalog.OpenGaps(ctx)
	if err != nil {
		return err
	}
	out.OpenGaps = append(out.OpenGaps, after...)
	for _, g := range before {
		if !slices.ContainsFunc(after, func(o catalog.OpenGap) bool {
			return o.Lineage == g.Lineage && o.From < g.To && g.From < o.To
		}) {
			out.Healed = append(out.Healed, g)
		}
	}
	return nil
}

// extend moves the beginning of the archive back if segments from before it were stored.
func (p *pusher) extend(ctx context.Context, l segment.Lineage, first segment.Name) error {
	begin, ok, err := p.catalog.Started(ctx, l)
	if err != nil || !ok || first.Start() >= begin {
		return err
	}
	_, err = p.catalog.ExtendBegin(ctx, l, time.Now())
	return err
}

// findMissing finds what is not archived before the segments that were pushed.
func (p *pusher) findMissing(ctx context.Context, l segment.Lineage, names []segment.Name) error {
	for {
		end, _, err := p.catalog.Frontier(ctx, l)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(names, func(n segment.Name) bool { return n.Start() >= end })
		if i < 0 || names[i].Start() == end {
			return nil
		}
		names = names[i:]
		m := missingRange{Lineage: l, From: end, To: names[0].Start(), Gap: p.options.acceptGaps}
		p.report.output.Missing = append(p.report.output.Missing, m)
		if !m.Gap {
			return nil
		}
		if err := p.recordGap(ctx, l, m.From, m.To); err != nil {
			return err
		}
	}
}

func (p *pusher) recordGap(ctx context.Context, l segment.Lineage, from, to segment.LSN) error {
	return p.catalog.RecordGap(ctx, catalog.Gap{
		Lineage: l, From: from, To: to, Kind: catalog.GapLost, Detected: time.Now().UTC(),
		Reason: "it was not among the files that were pushed",
	})
}
