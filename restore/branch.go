package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// branch is where a lineage began: its parent's WAL up to at is its own.
type branch struct {
	parent segment.Lineage // zero for timeline 1
	at     segment.LSN
}

// branch finds the parent of a lineage.
func (f *Fetcher) branch(ctx context.Context, l segment.Lineage) (branch, Absence, error) {
	if l.Timeline == 1 {
		return branch{}, Absence{}, nil
	}
	h, absent, err := f.storedHistory(ctx, l)
	if err != nil || absent.Proven() {
		return branch{}, absent, err
	}
	forks, err := segment.ParseHistory(h.Content)
	if err != nil {
		return branch{}, Absence{}, fmt.Errorf("history of %s: %w", l, err)
	}
	if len(forks) == 0 {
		return branch{}, Absence{}, nil
	}
	last := forks[len(forks)-1]
	parent, err := f.parent(ctx, h, last.Timeline)
	return branch{parent: parent, at: last.Switch}, Absence{}, err
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

// parent finds the lineage of timeline t that h continues: a promotion copies the parent's history and adds a line
// (access/transam/timeline.c: writeTimeLineHistory). The zero Lineage if the parent's history is not archived.
func (f *Fetcher) parent(ctx context.Context, h catalog.History, t segment.Timeline) (segment.Lineage, error) {
	if t == 1 {
		return segment.Lineage{Timeline: 1}, nil
	}
	lineages, err := f.catalog.Lineages(ctx, t)
	if err != nil {
		return segment.Lineage{}, err
	}
	for _, l := range lineages {
		p, err := f.catalog.History(ctx, l)
		if err != nil {
			return segment.Lineage{}, err
		}
		if bytes.HasPrefix(h.Content, p.Content) {
			return l, nil
		}
	}
	return segment.Lineage{}, nil
}

// compose appends to dst what is archived of a segment that is not there as a whole: its tail, or, where its lineage began
// in it and its tail ends before that point, its ancestors' bytes up to there. own is how many bytes the tail has.
func (f *Fetcher) compose(ctx context.Context, l segment.Lineage, n segment.Name, from branch, dst []byte) (content []byte, own int, err error) {
	content, err = f.catalog.Tail(ctx, l, n, dst)
	if err != nil {
		return dst, 0, err
	}
	own = len(content) - len(dst)
	if from.parent.Timeline == 0 || n.Start()+segment.LSN(own) >= from.at {
		return content, own, nil
	}
	inherited, err := f.inherit(ctx, n, from, dst)
	if err != nil {
		return dst, 0, err
	}
	if len(inherited) > len(content) {
		content = inherited
	}
	return content, own, nil
}

// inherit appends to dst what ancestors hold of segment n, up to where the lineage left them.
func (f *Fetcher) inherit(ctx context.Context, n segment.Name, from branch, dst []byte) ([]byte, error) {
	n.Timeline = from.parent.Timeline
	content, err := f.catalog.Segment(ctx, from.parent, n, dst)
	if errors.Is(err, storage.ErrNotFound) {
		var grand branch
		if grand, _, err = f.branch(ctx, from.parent); err == nil {
			content, _, err = f.compose(ctx, from.parent, n, grand, dst)
		}
	}
	if err != nil {
		return dst, err
	}
	limit := len(dst) + int(min(from.at, n.End())-n.Start())
	return content[:min(len(content), limit)], nil
}
