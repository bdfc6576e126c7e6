package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/segment"
)

// A walWhere says which WAL is meant: what the argument of inspect says, and --timeline.
type walWhere struct {
	from, to segment.LSN      // to 0: up to the end of the archive
	timeline segment.Timeline // 0: the newest
	lineage  *segment.Lineage // where --timeline names one
}

// parseWhere reads SEGMENT or FROM..TO.
func parseWhere(arg string, size segment.Size) (walWhere, error) {
	var w walWhere
	fromText, toText, isRange := strings.Cut(arg, "..")
	if !isRange {
		n, err := segment.ParseName(arg, size)
		if err != nil {
			return w, fmt.Errorf("%w; a range of LSNs is written 0/3000000..0/5000000", err)
		}
		return walWhere{from: n.Start(), to: n.End(), timeline: n.Timeline}, nil
	}
	from, err := parsePoint(fromText, size)
	if err != nil {
		return w, err
	}
	w.from, w.timeline = from.from, from.timeline
	if toText == "" {
		return w, nil
	}
	to, err := parsePoint(toText, size)
	if err != nil {
		return w, err
	}
	w.to = to.to
	if to.timeline != 0 {
		w.timeline = to.timeline // the other one must be of it or of an ancestor
	}
	if w.to <= w.from {
		return w, fmt.Errorf("the range %s..%s holds nothing", w.from, w.to)
	}
	return w, nil
}

// parsePoint reads one end of a range.
func parsePoint(s string, size segment.Size) (walWhere, error) {
	if segment.IsWALFileName(s) {
		n, err := segment.ParseName(s, size)
		return walWhere{from: n.Start(), to: n.End(), timeline: n.Timeline}, err
	}
	lsn, err := segment.ParseLSN(s)
	if err == nil {
		return walWhere{from: lsn, to: lsn}, nil
	}
	if strings.ContainsAny(s, "-:") {
		return walWhere{}, fmt.Errorf("%q: to find WAL by time needs an index of commit times, which this repository doesn't have: give LSNs", s)
	}
	return walWhere{}, fmt.Errorf("%w, nor the name of a WAL file", err)
}

// follow takes in --timeline: a number, or a lineage.
func (w *walWhere) follow(flag string) error {
	if flag == "" {
		return nil
	}
	t, err := strconv.ParseUint(flag, 10, 32)
	if err != nil || t == 0 {
		l, err := segment.ParseLineage(flag)
		if err != nil {
			return fmt.Errorf("--timeline %s: want a number, or a lineage as 00000002-5f3a91c0", flag)
		}
		w.lineage, t = &l, uint64(l.Timeline)
	}
	if w.timeline != 0 && uint64(w.timeline) != t {
		return fmt.Errorf("--timeline %s: the file named is of timeline %d", flag, uint32(w.timeline))
	}
	w.timeline = segment.Timeline(t)
	return nil
}

// A walLine is a range of the WAL of one lineage and its ancestors.
type walLine struct {
	catalog  *catalog.Catalog
	branch   catalog.Branch
	history  catalog.History
	size     segment.Size
	from, to segment.LSN
	wait     time.Duration
}

// openLine finds the lineage that is meant and bounds the range by what is archived.
func openLine(ctx context.Context, c *catalog.Catalog, w walWhere, wait time.Duration) (*walLine, error) {
	all, err := c.Branches(ctx)
	if err != nil {
		return nil, err
	}
	b, err := w.choose(all)
	if err != nil {
		return nil, err
	}
	h, err := c.History(ctx, b.Lineage)
	if err != nil {
		return nil, err
	}
	l := &walLine{catalog: c, branch: b, history: h, size: c.SegmentSize(), from: w.from, to: w.to, wait: wait}
	if l.to == 0 {
		l.to = b.Frontier
	}
	if l.from >= b.Frontier && w.to == 0 {
		return nil, fmt.Errorf("nothing to inspect: the archive of timeline %d ends at %s", uint32(b.Lineage.Timeline), b.Frontier)
	}
	return l, nil
}

// choose finds the branch that is meant: without a word about it the newest one that is not abandoned.
func (w walWhere) choose(all []catalog.Branch) (catalog.Branch, error) {
	t := w.timeline
	for _, b := range all {
		if w.timeline == 0 && !b.Abandoned {
			t = max(t, b.Lineage.Timeline)
		}
	}
	var found []catalog.Branch
	for _, b := range all {
		isMeant := b.Lineage.Timeline == t && (w.timeline != 0 || !b.Abandoned)
		if isMeant && (w.lineage == nil || b.Lineage == *w.lineage) {
			found = append(found, b)
		}
	}
	switch {
	case len(all) == 0:
		return catalog.Branch{}, errors.New("the repository holds no WAL yet")
	case len(found) == 0:
		return catalog.Branch{}, withHint(fmt.Errorf("nothing of timeline %d is archived", uint32(t)), "walkeep list shows what the repository holds")
	case len(found) > 1:
		return catalog.Branch{}, fmt.Errorf("two histories of timeline %d are archived, of different promotions: choose with --timeline %s or --timeline %s",
			uint32(t), found[0].Lineage, found[1].Lineage)
	}
	return found[0], nil
}

// timelineAt returns the timeline whose file holds segment n of the line: the segment with a switch point is the child's.
func (l *walLine) timelineAt(n segment.Number) segment.Timeline {
	end := segment.Name{Timeline: 1, Number: n, Size: l.size}.End()
	for _, fork := range l.branch.Forks {
		if end <= fork.Switch {
			return fork.Timeline
		}
	}
	return l.branch.Lineage.Timeline
}

// A walPart is the WAL of one segment.
type walPart struct {
	name    segment.Name
	content []byte // valid until the next part; less than a segment at the end of the archive
}

// segments yields the WAL of the range, whole segments, one at a time and in the same memory. The last one ends where the
// archive does.
func (l *walLine) segments(ctx context.Context) iter.Seq2[walPart, error] {
	fetcher := restore.NewFetcher(l.catalog, restore.FetchOptions{
		Mode: restore.ModeRecovery, Histories: []catalog.History{l.history},
	})
	return func(yield func(walPart, error) bool) {
		var buf []byte
		for n := l.size.Number(l.from); n <= l.size.Number(l.to-1); n++ {
			part, err := l.segment(ctx, fetcher, n, buf[:0])
			if !yield(part, err) || err != nil {
				return
			}
			buf = part.content
		}
	}
}

func (l *walLine) segment(ctx context.Context, fetcher *restore.Fetcher, n segment.Number, buf []byte) (walPart, error) {
	part := walPart{name: segment.Name{Timeline: l.timelineAt(n), Number: n, Size: l.size}}
	ctx, cancel := patience(ctx, l.wait)
	defer cancel()
	content, absent, err := fetcher.Fetch(ctx, part.name.String(), buf)
	switch {
	case err != nil:
		return part, err
	case absent.Proven():
		return part, withHint(errors.New(absent.String()), "walkeep list shows from where to where WAL is archived")
	}
	// What is behind the end of the archive was filled up with zeros.
	if start, end := part.name.Start(), l.branch.Frontier; start <= end && end < part.name.End() {
		content = content[:end-start]
	}
	part.content = content
	return part, nil
}
