package restore

import (
	"context"
	"errors"
	"fmt"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// attempts is how often an answer that a writer may have made untrue meanwhile is looked for again.
const attempts = 3

// segment finds a segment: whole, else composed of what is archived of it.
func (f *Fetcher) segment(ctx context.Context, n segment.Name, dst []byte) ([]byte, Absence, error) {
	l, absent, err := f.lineage(ctx, n.Timeline)
	if err == nil {
		err = f.stillFollowed(n)
	}
	if err != nil {
		return dst, Absence{}, err
	}
	if absent.Proven() {
		return dst, Absence{n.String(), absent.reason}, nil
	}
	for range attempts {
		var content []byte
		content, absent, err = f.look(ctx, l, n, dst)
		var hole *Hole
		if !catalog.IsBrokenTail(err) && !errors.As(err, &hole) {
			return content, absent, err
		}
		// A receiver at work stores the segment, deletes its tail and begins the next one: look again.
	}
	return dst, Absence{}, err
}

// stillFollowed refuses WAL of a timeline that this restore leaves before the end of segment n. The segment with the
// switch point is the child's: its beginning is the same, and what the parent wrote behind it never happened.
func (f *Fetcher) stillFollowed(n segment.Name) error {
	for _, h := range f.histories {
		forks, err := segment.ParseHistory(h.Content)
		if err != nil {
			return fmt.Errorf("%s: %w", h.Lineage.Timeline.HistoryName(), err)
		}
		for _, fork := range forks {
			if fork.Timeline == n.Timeline && fork.Switch < n.End() {
				return fmt.Errorf("%s is not served: this restore follows timeline %d, which left timeline %d at %s (pg_wal/%s); to restore "+
					"timeline %d itself, remove that file and set recovery_target_timeline", n, h.Lineage.Timeline, n.Timeline, fork.Switch,
					h.Lineage.Timeline.HistoryName(), n.Timeline)
			}
		}
	}
	return nil
}

// look asks the store once for all that decides about segment n.
func (f *Fetcher) look(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, Absence, error) {
	content, err := f.catalog.Segment(ctx, l, n, dst)
	if !errors.Is(err, storage.ErrNotFound) {
		return content, Absence{}, err
	}
	from, absent, err := f.branch(ctx, l)
	switch {
	case err != nil:
		return dst, Absence{}, err
	case absent.Proven():
		return dst, Absence{n.String(), absent.reason}, nil
	}
	if n.End() <= from.Switch {
		return dst, Absence{n.String(), fmt.Sprintf("timeline %d begins at %s", n.Timeline, from.Switch)}, nil
	}
	content, own, err := f.compose(ctx, l, n, from, dst)
	if err != nil {
		return dst, Absence{}, err
	}
	have := len(content) - len(dst)
	if have == int(n.Size) {
		return content, Absence{}, nil
	}
	// A tail disappears when its segment becomes whole, piece by piece: what was read is all there was only if the segment
	// is still not there.
	whole, err := f.catalog.Segment(ctx, l, n, dst)
	if !errors.Is(err, storage.ErrNotFound) {
		return whole, Absence{}, err
	}
	if err := f.isEnd(ctx, l, n, from, own, have); err != nil {
		return dst, Absence{}, err
	}
	if f.mode == ModeRecovery && (have > 0 || from.Lineage.Timeline != 0 && n.Start() == from.Switch) {
		// Recovery reads up to the zeros and takes them for the end of WAL (access/transam/xlogreader.c: a record length of
		// zero, a page without magic). Without an answer at the very beginning of a timeline it would go on with its parent's WAL.
		return append(content, make([]byte, int(n.Size)-have)...), Absence{}, nil
	}
	return f.prove(ctx, l, n, dst)
}

// isEnd returns a *Hole if the archive goes on behind what it has of segment n: own bytes of its lineage, have with those of
// ancestors.
func (f *Fetcher) isEnd(ctx context.Context, l segment.Lineage, n segment.Name, from catalog.Parent, own, have int) error {
	end := n.Start() + segment.LSN(have)
	if end < from.Switch {
		return &Hole{n.String(), fmt.Sprintf("timeline %d begins at %s, and of its parent only WAL before %s is archived", n.Timeline, from.Switch, end)}
	}
	for _, h := range f.histories {
		forks, err := segment.ParseHistory(h.Content)
		if err != nil {
			return err
		}
		for _, fork := range forks {
			if fork.Timeline == n.Timeline && end < fork.Switch {
				return &Hole{n.String(), fmt.Sprintf("timeline %d, which this restore follows, begins at %s", h.Lineage.Timeline, fork.Switch)}
			}
		}
	}
	later, err := f.catalog.LaterThan(ctx, l, n)
	if err != nil || later == "" {
		return err
	}
	if own == 0 {
		return &Hole{n.String(), later}
	}
	// What a receiver that died had stored out of order does not count: it lies behind the Frontier.
	frontier, _, err := f.catalog.Frontier(ctx, l)
	if err == nil && frontier > n.Start()+segment.LSN(own) {
		err = &Hole{n.String(), later}
	}
	return err
}

// prove asks for the segment once more, after nothing later was there.
func (f *Fetcher) prove(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, Absence, error) {
	content, err := f.catalog.Segment(ctx, l, n, dst)
	if errors.Is(err, storage.ErrNotFound) {
		return dst, Absence{n.String(), "the archive of its timeline ends before it"}, nil
	}
	return content, Absence{}, err
}
