package restore

import (
	"context"
	"errors"
	"fmt"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// Absence is the proof that the repository does not hold a file: the store said so, and said that nothing later is there
// either. Only this package makes one.
type Absence struct {
	name   string
	reason string
}

// Proven reports whether this is a proof; the zero Absence is none.
func (a Absence) Proven() bool { return a.name != "" }

// String is for people: what is absent, and how it is known.
func (a Absence) String() string { return a.name + " is not in the archive: " + a.reason }

// A Hole is a missing file that something later depends on. Recovery must stop there, not end.
type Hole struct {
	Name   string
	Reason string
}

func (e *Hole) Error() string {
	return fmt.Sprintf("WAL file %s is missing from the archive although later WAL is there (%s): recovery can't go beyond it; "+
		"restore to a target before it, or from a base backup taken behind it", e.Name, e.Reason)
}

// A Mode says how a fetch treats the end of what is archived.
type Mode int

// The modes of a fetch.
const (
	// ModeRecovery: the archive ends with the tail, which is served filled up with zeros to a whole segment.
	ModeRecovery Mode = iota + 1
	// ModeStandby: only whole segments are served; a standby asks again.
	ModeStandby
)

// A Fetcher answers restore_command without a plan, for one file at a time.
type Fetcher struct {
	catalog *catalog.Catalog
	mode    Mode
}

// NewFetcher serves what the catalog's cluster has archived.
func NewFetcher(c *catalog.Catalog, mode Mode) *Fetcher { return &Fetcher{catalog: c, mode: mode} }

// Fetch appends the content of the file that PostgreSQL calls name to dst: a WAL segment or a timeline history. If absent
// is a proof, the file is not there. Every error means unknown, damaged or missing in between, a *Hole among them.
func (f *Fetcher) Fetch(ctx context.Context, name string, dst []byte) (content []byte, absent Absence, err error) {
	if t, err := segment.ParseHistoryName(name); err == nil {
		return f.history(ctx, t, dst)
	}
	if segment.IsWALFileName(name) {
		n, err := segment.ParseName(name, f.catalog.SegmentSize())
		if err != nil {
			return dst, Absence{}, err
		}
		return f.segment(ctx, n, dst)
	}
	// Recovery asks for nothing else that is archived: backup history files and .partial are never needed.
	return dst, Absence{name, "walkeep keeps WAL segments and timeline histories only"}, nil
}

// history finds the history file of a timeline.
func (f *Fetcher) history(ctx context.Context, t segment.Timeline, dst []byte) ([]byte, Absence, error) {
	if t == 1 {
		return dst, Absence{t.HistoryName(), "timeline 1 has no history"}, nil
	}
	l, absent, err := f.lineage(ctx, t)
	if err != nil {
		return dst, Absence{}, err
	}
	if absent.Proven() {
		return dst, Absence{t.HistoryName(), absent.reason}, nil
	}
	h, err := f.catalog.History(ctx, l)
	if err != nil {
		return dst, Absence{}, err
	}
	return append(dst, h.Content...), Absence{}, nil
}

// lineage finds the one lineage of a timeline.
func (f *Fetcher) lineage(ctx context.Context, t segment.Timeline) (segment.Lineage, Absence, error) {
	lineages, err := f.catalog.Lineages(ctx, t)
	switch {
	case err != nil:
		return segment.Lineage{}, Absence{}, err
	case len(lineages) == 0:
		return segment.Lineage{}, Absence{t.String(), fmt.Sprintf("no history of timeline %d was ever archived", t)}, nil
	case len(lineages) > 1:
		return segment.Lineage{}, Absence{}, fmt.Errorf("two histories of timeline %d are archived (%s, %s), and serving a mixture would destroy the "+
			"restored cluster: choose one", t, lineages[0], lineages[1])
	}
	return lineages[0], Absence{}, nil
}

// segment finds a segment: whole, else composed from the tail.
func (f *Fetcher) segment(ctx context.Context, n segment.Name, dst []byte) ([]byte, Absence, error) {
	l, absent, err := f.lineage(ctx, n.Timeline)
	if err != nil {
		return dst, Absence{}, err
	}
	if absent.Proven() {
		return dst, Absence{n.String(), absent.reason}, nil
	}
	content, err := f.catalog.Segment(ctx, l, n, dst)
	if !errors.Is(err, storage.ErrNotFound) {
		return content, Absence{}, err
	}
	for range tailAttempts {
		content, err = f.tail(ctx, l, n, dst)
		if err == nil && len(content) > len(dst) {
			return content, Absence{}, nil
		}
		if err != nil && !catalog.IsBrokenTail(err) {
			return dst, Absence{}, err
		}
		// A tail disappears when its segment becomes whole: only a segment that is still not there counts.
		content, again := f.catalog.Segment(ctx, l, n, dst)
		if !errors.Is(again, storage.ErrNotFound) {
			return content, Absence{}, again
		}
		if err == nil {
			return f.prove(ctx, l, n, dst)
		}
	}
	return dst, Absence{}, err
}

// tailAttempts is how often a tail that changes while it is read is read again.
const tailAttempts = 3

// tail composes a segment from its links, filled up with zeros: recovery reads up to the zeros and takes them for the end
// of WAL (access/transam/xlogreader.c: a record length of zero).
func (f *Fetcher) tail(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, error) {
	content, err := f.catalog.Tail(ctx, l, n, dst)
	if err != nil || len(content) == len(dst) {
		return dst, err
	}
	size := int(f.catalog.SegmentSize())
	have := len(content) - len(dst)
	if have == size {
		return content, nil
	}
	if f.mode == ModeStandby {
		return dst, nil
	}
	if err := f.atFrontier(ctx, l, n, have); err != nil {
		return dst, err
	}
	return append(content, make([]byte, size-have)...), nil
}

// atFrontier returns a *Hole if the archive goes on behind a tail of have bytes. What a receiver that died had stored out
// of order does not count: its segments lie behind the Frontier.
func (f *Fetcher) atFrontier(ctx context.Context, l segment.Lineage, n segment.Name, have int) error {
	later, err := f.catalog.LaterThan(ctx, l, n)
	if err != nil || later == "" {
		return err
	}
	frontier, _, err := f.catalog.Frontier(ctx, l)
	if err != nil {
		return err
	}
	if frontier > n.Start()+segment.LSN(have) {
		return &Hole{Name: n.String(), Reason: later}
	}
	return nil
}

// prove decides whether a segment that is not there is the end of the archive or a hole in it: the store was asked for it
// twice, and between the two nothing later was there.
func (f *Fetcher) prove(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, Absence, error) {
	later, err := f.catalog.LaterThan(ctx, l, n)
	if err != nil {
		return dst, Absence{}, err
	}
	if later != "" {
		return dst, Absence{}, &Hole{Name: n.String(), Reason: later}
	}
	content, err := f.catalog.Segment(ctx, l, n, dst)
	if errors.Is(err, storage.ErrNotFound) {
		return dst, Absence{n.String(), "the archive of its timeline ends before it"}, nil
	}
	return content, Absence{}, err
}
