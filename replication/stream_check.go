package replication

import (
	"bytes"
	"context"
	"errors"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
)

// check walks everything that was read, in order, before anything of it is put, and hands over full segments.
func (s *Stream) check(ctx context.Context) error {
	for {
		var c chunk
		select {
		case c = <-s.chunks:
		case <-ctx.Done():
			return nil
		}
		err := s.walk(c.buf.Bytes[c.from:c.to])
		_, _ = s.hash.Write(c.buf.Bytes[c.from:c.to]) // while the bytes are in the cache; it never fails
		if damage := (*record.DamageError)(nil); errors.As(err, &damage) && damage.LSN == s.options.Damage {
			err = s.damaged(ctx, damage, c.name.End())
			s.reader = nil // the rest of this segment goes unchecked
		}
		if err == nil {
			err = s.compare(c) // behind walk: what was damaged on its way is no other WAL
		}
		if err != nil {
			if c.full() {
				c.buf.Release()
			}
			return err
		}
		s.checked(c)
	}
}

// compare compares the first segment with what is there of it: its tail, and at the beginning of a timeline what the parent
// timeline holds. A server that sends other bytes is not of this cluster's history, whatever its history file says: nothing of
// it must be stored, and the tail be deleted for it.
func (s *Stream) compare(c chunk) error {
	if c.name.Start() != s.start {
		return nil
	}
	for _, piece := range s.tail {
		if end := int(piece.Statement.To - s.start); c.from < end && end <= c.to {
			if err := piece.Compare(s.start, c.buf.Bytes[:end]); err != nil {
				return err
			}
		}
	}
	return s.compareParent(c)
}

func (s *Stream) compareParent(c chunk) error {
	if c.from >= len(s.prefix) {
		return nil
	}
	to := min(c.to, len(s.prefix))
	if bytes.Equal(c.buf.Bytes[c.from:to], s.prefix[c.from:to]) {
		return nil
	}
	from := s.start + segment.LSN(c.from)
	ours := segment.NewStatement(s.catalog.SystemID(), s.lane.Lineage(), from, c.buf.Bytes[c.from:to])
	stored := segment.NewStatement(s.catalog.SystemID(), s.lane.Lineage(), from, s.prefix[c.from:to])
	return &catalog.ForkError{Key: "the parent timeline's segment " + c.name.String(), Stored: stored, Ours: ours}
}

// walk feeds the record reader and counts commits.
func (s *Stream) walk(p []byte) error {
	if s.reader == nil {
		s.progress.unchecked(uint64(len(p)))
		return nil
	}
	s.reader.Feed(p)
	for s.reader.Next() {
		if at, ok := record.CommitTime(s.reader.Record(), s.reader.Prefix()); ok {
			s.progress.commit(at)
		}
	}
	s.countUnchecked()
	return s.reader.Err()
}

func (s *Stream) countUnchecked() {
	if n := s.reader.Unchecked(); n > s.unchecked {
		s.progress.unchecked(n - s.unchecked)
		s.unchecked = n
	}
}

// checked publishes a chunk to link, and hands the segment over if it is full.
func (s *Stream) checked(c chunk) {
	s.progress.checked(c.name.Start()+segment.LSN(c.to), time.Now())
	s.window.add(c)
	if c.full() {
		if s.reader == nil {
			s.unchecked = 0
			s.reader = record.NewReader(s.catalog.SystemID(), s.timeline, s.size, c.name.End())
		}
		s.boundary = s.reader.Clone()
		s.lane.Segment(c.name, c.buf, s.hash.Sum64())
		s.hash.Reset()
	}
}
