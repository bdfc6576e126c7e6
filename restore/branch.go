package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// branch finds the parent of a lineage, and where it left it; the zero Parent if it has none.
func (f *Fetcher) branch(ctx context.Context, l segment.Lineage) (catalog.Parent, Absence, error) {
	if l.Timeline == 1 {
		return catalog.Parent{}, Absence{}, nil
	}
	if _, absent, err := f.storedHistory(ctx, l); err != nil || absent.Proven() {
		return catalog.Parent{}, absent, err
	}
	parent, _, err := f.catalog.Parent(ctx, l)
	return parent, Absence{}, err
}

// storedHistory reads the history of a lineage. The data directory may name one that is not archived.
func (f *Fetcher) storedHistory(ctx context.Context, l segment.Lineage) (catalog.History, Absence, error) {
	h, err := f.catalog.History(ctx, l)
	if !errors.Is(err, storage.ErrNotFound) {
		return h, Absence{}, err
	}
	others, err := f.catalog.Lineages(ctx, l.Timeline)
	switch {
	case err != nil:
		return h, Absence{}, err
	case len(others) == 0:
		return h, neverSeen(l.Timeline), nil
	}
	return h, Absence{}, fmt.Errorf("pg_wal/%s is another history (%s) than the archived one (%s): the data directory and the archive are of "+
		"different promotions; remove the file if the archive is right", l.Timeline.HistoryName(), l, others[0])
}

// compose appends to dst what is archived of a segment that is not there as a whole: its tail, or, where its lineage began
// in it and its tail ends before that point, its ancestors' bytes up to there. own is how many bytes the tail has.
func (f *Fetcher) compose(ctx context.Context, l segment.Lineage, n segment.Name, from catalog.Parent, dst []byte) (content []byte, own int, err error) {
	content, err = f.catalog.Tail(ctx, l, n, dst)
	if err != nil {
		return dst, 0, err
	}
	own = len(content) - len(dst)
	if from.Lineage.Timeline == 0 || n.Start()+segment.LSN(own) >= from.Switch {
		return content, own, nil
	}
	inherited, err := f.inherit(ctx, n, from, slices.Clip(dst)) // beside content, not over it
	if err != nil {
		return dst, 0, err
	}
	if len(inherited) > len(content) {
		content = inherited
	}
	return content, own, nil
}

// inherit appends to dst what ancestors hold of segment n, up to where the lineage left them.
func (f *Fetcher) inherit(ctx context.Context, n segment.Name, from catalog.Parent, dst []byte) ([]byte, error) {
	n.Timeline = from.Lineage.Timeline
	content, err := f.catalog.Segment(ctx, from.Lineage, n, dst)
	if errors.Is(err, storage.ErrNotFound) {
		var grand catalog.Parent
		if grand, _, err = f.branch(ctx, from.Lineage); err == nil {
			content, _, err = f.compose(ctx, from.Lineage, n, grand, dst)
		}
	}
	if err != nil {
		return dst, err
	}
	limit := len(dst) + int(min(from.Switch, n.End())-n.Start())
	return content[:min(len(content), limit)], nil
}
