package catalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/storage"
)

// An Import checks whole segments that did not come over the stream, from archive_command or an old archive, and stores
// them. Give it the segments in order: then the record that crosses from one into the next is checked too. Accept is for
// one goroutine; Put may run beside it and beside other Puts.
type Import struct {
	catalog  *Catalog
	lines    map[segment.Lineage]*line
	reader   *record.Reader // behind the segment accepted last
	lineage  segment.Lineage
	lastName segment.Name
}

// line is what an Import has found out about one lineage.
type line struct {
	forks  []segment.Fork
	parent Parent // zero for timeline 1
	begin  segment.LSN
}

// NewImport returns an Import into the repository of c.
func NewImport(c *Catalog) *Import {
	return &Import{catalog: c, lines: map[segment.Lineage]*line{}}
}

// A RejectedError says that a file is not what its name says, or damaged: nothing of it was stored, and trying again gives
// the same.
type RejectedError struct {
	Name   string // as PostgreSQL names the file
	Reason string // with the LSN where there is one
}

func (e *RejectedError) Error() string { return fmt.Sprintf("%s is refused: %s", e.Name, e.Reason) }

// An Accepted segment has passed the checks and may be Put.
type Accepted struct {
	Name      segment.Name
	Lineage   segment.Lineage
	Unchecked uint64 // bytes that could not be checked: a record's rest whose beginning we don't have, an unknown format
	line      *line
	raw       []byte
}

// Accept checks a segment of lineage l and, if nothing of the lineage is archived yet, notes that it begins here. raw belongs
// to the Accepted from then on. Errors: *RejectedError; storage.ErrNotFound if the history of l is not archived; others are
// trouble with the store.
func (i *Import) Accept(ctx context.Context, l segment.Lineage, n segment.Name, raw []byte) (Accepted, error) {
	facts, err := i.line(ctx, l)
	if err != nil {
		return Accepted{}, err
	}
	if err := i.checkPages(facts, l, n, raw); err != nil {
		return Accepted{}, err
	}
	reader, err := i.readerAt(ctx, l, n)
	if err != nil {
		return Accepted{}, err
	}
	i.reader = nil
	before := reader.Unchecked()
	if err := reader.Check(raw); err != nil {
		return Accepted{}, &RejectedError{n.String(), err.Error()}
	}
	i.reader, i.lineage, i.lastName = reader, l, n
	if facts.begin == 0 {
		if err := i.start(ctx, facts, l, n); err != nil {
			return Accepted{}, err
		}
	}
	return Accepted{Name: n, Lineage: l, Unchecked: reader.Unchecked() - before, line: facts, raw: raw}, nil
}

// start finds where the archived WAL of a lineage begins; with n, if nothing was archived.
func (i *Import) start(ctx context.Context, facts *line, l segment.Lineage, n segment.Name) error {
	begin, ok, err := i.catalog.Started(ctx, l)
	if err == nil && !ok {
		begin = n.Start()
		err = i.catalog.Begin(ctx, l, begin, time.Now())
	}
	facts.begin = begin
	return err
}

func (i *Import) line(ctx context.Context, l segment.Lineage) (*line, error) {
	if facts := i.lines[l]; facts != nil {
		return facts, nil
	}
	forks, err := i.catalog.forks(ctx, l)
	if err != nil {
		return nil, err
	}
	parent, _, err := i.catalog.Parent(ctx, l)
	if err != nil {
		return nil, err
	}
	facts := &line{forks: forks, parent: parent}
	i.lines[l] = facts
	return facts, nil
}

// Format facts of pages (access/xlog_internal.h: XLogPageHeaderData, XLogLongPageHeaderData).
const (
	pageSize       = 8192
	longHeaderSize = 40
)

// checkPages checks what a record walk doesn't know: that the file is the one its name says.
func (i *Import) checkPages(facts *line, l segment.Lineage, n segment.Name, raw []byte) error {
	reject := func(format string, args ...any) error {
		return &RejectedError{n.String(), fmt.Sprintf(format, args...)}
	}
	if len(raw) != int(i.catalog.size) {
		return reject("it has %d bytes, a segment of this cluster has %d", len(raw), uint32(i.catalog.size))
	}
	h := ParseLongHeader(raw)
	switch {
	case h.SystemID != i.catalog.systemID:
		return reject("it is WAL of another cluster: system identifier %d, this archive's is %d", h.SystemID, i.catalog.systemID)
	case h.Address != n.Start():
		return reject("it holds WAL at %s, its name says %s", h.Address, n.Start())
	case h.SegmentSize != uint32(i.catalog.size):
		return reject("it says wal_segment_size %d bytes, this archive's is %d", h.SegmentSize, uint32(i.catalog.size))
	}
	second := binary.LittleEndian.Uint16(raw[pageSize:])
	switch known := record.IsKnownMagic(h.Magic); {
	case !known && record.IsKnownMagic(second):
		return reject("its first page has magic %04X, the second one %04X", h.Magic, second)
	case !known || h.BlockSize != pageSize:
		return nil // a format we don't know is no reason to refuse
	}
	return checkTimelines(facts, l, n, raw, reject)
}

// checkTimelines checks that each page is of the timeline that its lineage was on there. A page keeps the number it was begun
// with when its timeline ends in the middle of it.
func checkTimelines(facts *line, l segment.Lineage, n segment.Name, raw []byte, reject func(string, ...any) error) error {
	for offset := 0; offset < len(raw); offset += pageSize {
		page := raw[offset:]
		if binary.LittleEndian.Uint16(page) == 0 {
			return nil // zeros behind XLOG_SWITCH; the record walk checks that they are
		}
		at, want := n.Start()+segment.LSN(offset), l.Timeline
		for _, f := range facts.forks {
			if at < f.Switch {
				want = f.Timeline
				break
			}
		}
		if got := segment.Timeline(binary.LittleEndian.Uint32(page[4:])); got != want {
			return reject("the page at %s is of timeline %d, on %s it is of %d", at, uint32(got), l, uint32(want))
		}
	}
	return nil
}

// A LongHeader is what the first page of a segment says of it (access/xlog_internal.h: XLogLongPageHeaderData).
type LongHeader struct {
	Magic       uint16
	Timeline    segment.Timeline
	Address     segment.LSN
	SystemID    uint64
	SegmentSize uint32 // bytes, as found
	BlockSize   uint32 // of a page, bytes
}

// LongHeaderSize is how many bytes ParseLongHeader looks at.
const LongHeaderSize = longHeaderSize

// ParseLongHeader reads the header at the beginning of raw, which must have LongHeaderSize bytes or more. It checks nothing.
func ParseLongHeader(raw []byte) LongHeader {
	_ = raw[longHeaderSize-1]
	return LongHeader{
		Magic:       binary.LittleEndian.Uint16(raw),
		Timeline:    segment.Timeline(binary.LittleEndian.Uint32(raw[4:])),
		Address:     segment.LSN(binary.LittleEndian.Uint64(raw[8:])),
		SystemID:    binary.LittleEndian.Uint64(raw[24:]),
		SegmentSize: binary.LittleEndian.Uint32(raw[32:]),
		BlockSize:   binary.LittleEndian.Uint32(raw[36:]),
	}
}

// maxReread is the largest segment that is read again to check the one record that crosses into the next.
const maxReread segment.Size = 64 << 20

// readerAt returns the record walk for segment n: the one that has just walked the segment before, or one that walks the
// archived segment before, or a fresh one that knows of no record before n.
func (i *Import) readerAt(ctx context.Context, l segment.Lineage, n segment.Name) (*record.Reader, error) {
	c := i.catalog
	if i.reader != nil && i.lineage == l && i.lastName.Next() == n {
		return i.reader, nil
	}
	fresh := record.NewReader(c.systemID, l.Timeline, c.size, n.Start())
	if n.Number <= 1 || c.size > maxReread {
		return fresh, nil
	}
	before := n
	before.Number--
	holder, ok, err := i.holder(ctx, l, before.Number)
	if err != nil || !ok {
		return fresh, err
	}
	before.Timeline = holder.Timeline
	raw, err := c.Segment(ctx, holder, before, nil)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, segment.ErrDamaged) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	warm := record.NewReader(c.systemID, l.Timeline, c.size, before.Start())
	if warm.Check(raw) != nil {
		return fresh, nil // archived as damaged
	}
	return warm, nil
}

// holder returns which of l and its ancestors has segment k; ok is false if a history in between is not archived.
func (i *Import) holder(ctx context.Context, l segment.Lineage, k segment.Number) (segment.Lineage, bool, error) {
	for {
		facts, err := i.line(ctx, l)
		if err != nil || k >= i.catalog.size.Number(facts.parent.Switch) {
			return l, err == nil, err
		}
		if l = facts.parent.Lineage; l.Timeline == 0 {
			return l, false, nil
		}
	}
}

// forkBytes returns what the parent holds of segment n up to the point where l branched off in it; nil if it did not.
func (c *Catalog) forkBytes(ctx context.Context, p Parent, n segment.Name) ([]byte, error) {
	if p.Lineage.Timeline == 0 || p.Switch <= n.Start() || p.Switch >= n.End() {
		return nil, nil
	}
	n.Timeline = p.Lineage.Timeline
	raw, err := c.segmentOrTail(ctx, p.Lineage, n)
	if err != nil {
		return nil, fmt.Errorf("read the parent timeline's last segment: %w", err)
	}
	return raw[:min(len(raw), int(p.Switch-n.Start()))], nil
}

// segmentOrTail reads what is archived of a segment; nothing if there is nothing.
func (c *Catalog) segmentOrTail(ctx context.Context, l segment.Lineage, n segment.Name) ([]byte, error) {
	raw, err := c.Segment(ctx, l, n, nil)
	if !errors.Is(err, storage.ErrNotFound) {
		return raw, err
	}
	raw, err = c.Tail(ctx, l, n, nil)
	if IsBrokenTail(err) { // deleted meanwhile, since the segment has become whole
		raw, err = c.Segment(ctx, l, n, nil)
	}
	return raw, err
}

// sameStart checks that raw begins with prefix, which key holds.
func (c *Catalog) sameStart(key Key, l segment.Lineage, n segment.Name, raw, prefix []byte) error {
	if bytes.HasPrefix(raw, prefix) {
		return nil
	}
	return &ForkError{
		Key:    key,
		Stored: segment.NewStatement(c.systemID, l, n.Start(), prefix),
		Ours:   segment.NewStatement(c.systemID, l, n.Start(), raw[:len(prefix)]),
	}
}
