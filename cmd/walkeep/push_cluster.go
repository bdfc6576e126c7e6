package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/storage"
)

// open opens the cluster that the files belong to. Which one that is, --system-id says, or the data directory we are in, or the
// files themselves. One that the repository doesn't hold is added, except when only the files say so: these may be the wrong ones.
func (p *pusher) open(ctx context.Context, files []walFile) error {
	store, err := p.env.openStore(ctx, p.options.repo)
	if err != nil {
		return err
	}
	if p.options.singleWriter {
		if store, err = storage.SingleWriter(store); err != nil {
			return err
		}
	}
	p.store = storage.Retry(store, storage.RetryPolicy{})
	id, err := p.givenSystem()
	if err != nil {
		return err
	}
	header, size, found := firstHeader(files)
	if id == 0 && found {
		if err := p.mayAdd(ctx, header.SystemID); err != nil {
			return err
		}
		id = header.SystemID
	}
	if !found || header.SystemID != id {
		p.catalog, err = openCluster(ctx, p.store, id)
		if errors.Is(err, catalog.ErrNoCluster) {
			err = fmt.Errorf("%w, and no undamaged segment among the files says that it is one to begin with", err)
		}
		return err
	}
	p.catalog, _, err = catalog.Create(ctx, p.store, id, size, time.Now())
	return err
}

// givenSystem is the system identifier that --system-id or the data directory says, 0 if neither.
func (p *pusher) givenSystem() (uint64, error) {
	here, ok, err := restore.SystemID(".")
	switch {
	case err != nil:
		return 0, err
	case ok && p.systemID != 0 && p.systemID != here:
		return 0, fmt.Errorf("the data directory is of system %d, not %d as --system-id says", here, p.systemID)
	case ok:
		return here, nil
	}
	return p.systemID, nil
}

// mayAdd refuses a system that the repository doesn't hold, if it holds others.
func (p *pusher) mayAdd(ctx context.Context, id uint64) error {
	all, err := catalog.Clusters(ctx, p.store)
	if err != nil {
		return err
	}
	text, known := strconv.FormatUint(id, 10), []string{}
	for _, c := range all {
		if c.SystemID == text {
			return nil
		}
		known = append(known, c.SystemID)
	}
	if len(known) == 0 {
		return nil
	}
	return fmt.Errorf("the files are WAL of another cluster: system identifier %s, the repository holds %s; --system-id %s adds it",
		text, strings.Join(known, ", "), text)
}

// firstHeader finds the first segment that says what it is, among the files and, since a history doesn't say to which cluster it
// belongs, beside them.
func firstHeader(files []walFile) (h catalog.LongHeader, size segment.Size, found bool) {
	candidates := files
	if len(files) == 0 || files[len(files)-1].kind == historyFile {
		dir := filepath.Dir(files[0].path)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return h, 0, false
		}
		for _, e := range entries {
			if f, ok := parseWALFile(filepath.Join(dir, e.Name())); ok {
				candidates = append(candidates, f)
			}
		}
	}
	for _, f := range candidates {
		if h, size, found = f.header(); found {
			return h, size, true
		}
	}
	return h, 0, false
}

// header reads the beginning of a segment. found is false if that is not what its name says.
func (f walFile) header() (h catalog.LongHeader, size segment.Size, found bool) {
	if f.kind != segmentFile {
		return h, 0, false
	}
	file, err := os.Open(f.path)
	if err != nil {
		return h, 0, false
	}
	defer file.Close()
	r, err := f.decompress(file)
	if err != nil {
		return h, 0, false
	}
	var head [catalog.LongHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return h, 0, false
	}
	h = catalog.ParseLongHeader(head[:])
	size, err = segment.NewSize(uint64(h.SegmentSize))
	if err != nil || !record.IsKnownMagic(h.Magic) || h.SystemID == 0 {
		return h, 0, false
	}
	n, err := segment.ParseName(f.name, size)
	return h, size, err == nil && n.Start() == h.Address
}

// lineageOf finds the lineage of a segment: what --lineage says, or the history that lies beside it, or the only one archived.
func (p *pusher) lineageOf(ctx context.Context, f walFile) (segment.Lineage, error) {
	if f.timeline == 1 {
		return segment.Lineage{Timeline: 1}, nil
	}
	if p.chosen.Timeline == f.timeline {
		return p.chosen, nil
	}
	key := filepath.Dir(f.path) + "/" + f.timeline.String()
	if l, ok := p.lineages[key]; ok {
		return l, nil
	}
	l, err := p.findLineage(ctx, f)
	if err == nil {
		p.lineages[key] = l
	}
	return l, err
}

func (p *pusher) findLineage(ctx context.Context, f walFile) (segment.Lineage, error) {
	archived, err := p.catalog.Lineages(ctx, f.timeline)
	if err != nil {
		return segment.Lineage{}, err
	}
	beside, ok, err := historyBeside(f)
	if err != nil {
		return segment.Lineage{}, err
	}
	if ok {
		for _, l := range archived {
			if l == beside {
				return l, nil
			}
		}
		return beside, fileErrorf("%s is refused: the history beside it (%s) is not archived: push %s first", f.name, beside, f.timeline.HistoryName())
	}
	switch len(archived) {
	case 0:
		return segment.Lineage{}, fileErrorf("%s is refused: no history of timeline %d is archived: push %s first", f.name, uint32(f.timeline), f.timeline.HistoryName())
	case 1:
		return archived[0], nil
	}
	return segment.Lineage{}, fileErrorf("%s is refused: timeline %d has several histories: %s; choose one with --lineage",
		f.name, uint32(f.timeline), joinLineages(archived))
}

// historyBeside reads the history of a segment's timeline in the segment's own directory, pg_wal or an old archive.
func historyBeside(f walFile) (segment.Lineage, bool, error) {
	for _, suffix := range []string{"", ".gz", ".lz4"} {
		h, _ := parseWALFile(filepath.Join(filepath.Dir(f.path), f.timeline.HistoryName()+suffix))
		if _, err := os.Stat(h.path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		content, err := h.read(maxHistory)
		if err != nil {
			return segment.Lineage{}, false, err
		}
		if err := checkHistory(f.timeline, content); err != nil {
			return segment.Lineage{}, false, err
		}
		l, err := segment.NewLineage(f.timeline, content)
		return l, err == nil, err
	}
	return segment.Lineage{}, false, nil
}

func joinLineages(all []segment.Lineage) string {
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.String()
	}
	return strings.Join(names, ", ")
}
