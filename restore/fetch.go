package restore

import (
	"context"
	"fmt"
	"regexp"

	"walkeep/catalog"
	"walkeep/segment"
)

// A Mode says how a fetch treats the end of what is archived.
type Mode int

// The modes of a fetch.
const (
	// ModeRecovery: the archive ends with the tail, which is served filled up with zeros to a whole segment.
	ModeRecovery Mode = iota + 1
	// ModeStandby: only whole segments are served; a standby asks again.
	ModeStandby
)

// FetchOptions say for whom a Fetcher works.
type FetchOptions struct {
	Mode Mode
	// Histories are those that the server has taken into its data directory (the function Histories reads them): they say
	// which lineage this restore follows. None is fine: then the server follows timeline 1, or has not asked yet.
	Histories []catalog.History
}

// A Fetcher answers restore_command without a plan, for one file at a time. It is safe for concurrent use.
type Fetcher struct {
	catalog   *catalog.Catalog
	mode      Mode
	histories []catalog.History
}

// NewFetcher serves what the catalog's cluster has archived.
func NewFetcher(c *catalog.Catalog, o FetchOptions) *Fetcher {
	return &Fetcher{catalog: c, mode: o.Mode, histories: o.Histories}
}

// neverArchived has the forms of files that PostgreSQL may know and that are never streamed: backup history files and
// incomplete segments (access/xlog_internal.h: IsBackupHistoryFileName, IsPartialXLogFileName).
var neverArchived = regexp.MustCompile(`^[0-9A-F]{24}(\.[0-9A-F]{8}\.backup|\.partial)$`)

// Fetch appends the content of the file that PostgreSQL calls name to dst: a WAL segment or a timeline history. If absent
// is a proof, the file is not there. Every error means unknown, damaged or missing in between, a *Hole among them, and
// returns dst as it was; what lies behind its length may have been written to. With room for a segment in dst, no more
// memory is taken than that and the stored object.
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
	if neverArchived.MatchString(name) {
		return dst, Absence{name, "walkeep keeps WAL segments and timeline histories only"}, nil
	}
	// Arguments in the wrong order, a shell that eats a character: to call that absent would end a recovery.
	return dst, Absence{}, fmt.Errorf("%q is not the name of a WAL file: restore_command is walkeep fetch %%f %%p, in this order", name)
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
	h, absent, err := f.storedHistory(ctx, l)
	if err != nil || absent.Proven() {
		return dst, absent, err
	}
	return append(dst, h.Content...), Absence{}, nil
}

// lineage finds the lineage of a timeline: the one that the data directory follows, else the only one that is archived.
func (f *Fetcher) lineage(ctx context.Context, t segment.Timeline) (segment.Lineage, Absence, error) {
	for _, h := range f.histories {
		if h.Lineage.Timeline == t {
			return h.Lineage, Absence{}, nil
		}
	}
	lineages, err := f.catalog.Lineages(ctx, t)
	switch {
	case err != nil:
		return segment.Lineage{}, Absence{}, err
	case len(lineages) == 0:
		return segment.Lineage{}, neverSeen(t), nil
	}
	lineages, err = f.followed(ctx, lineages)
	switch {
	case err != nil:
		return segment.Lineage{}, Absence{}, err
	case len(lineages) == 0:
		return segment.Lineage{}, Absence{t.HistoryName(), fmt.Sprintf("timeline %d was given up with walkeep timeline abandon", t)}, nil
	case len(lineages) > 1:
		return segment.Lineage{}, Absence{}, fmt.Errorf("two histories of timeline %d are archived (%s, %s), and serving a mixture would destroy the "+
			"restored cluster: give up the wrong one with walkeep timeline abandon, or put the history file of the right one into pg_wal",
			t, lineages[0], lineages[1])
	}
	return lineages[0], Absence{}, nil
}

// followed are the lineages that no operator has given up.
func (f *Fetcher) followed(ctx context.Context, lineages []segment.Lineage) ([]segment.Lineage, error) {
	var followed []segment.Lineage
	for _, l := range lineages {
		abandoned, err := f.catalog.Abandoned(ctx, l)
		if err != nil {
			return nil, err
		}
		if !abandoned {
			followed = append(followed, l)
		}
	}
	return followed, nil
}

func neverSeen(t segment.Timeline) Absence {
	return Absence{t.HistoryName(), fmt.Sprintf("no history of timeline %d was ever archived", t)}
}
