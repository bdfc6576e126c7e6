package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walkeep/segment"
	"walkeep/segment/record"
)

// A recordFilter chooses records. The zero value takes all.
type recordFilter struct {
	managers []uint8
	xid      uint32
	relation *record.Locator
}

// takes reports whether a record is chosen. b is its body, t what it says of a transaction's end if record.IsEnd holds.
func (f *recordFilter) takes(c record.Record, b *record.Body, t *record.Transaction) bool {
	if len(f.managers) > 0 && !slices.Contains(f.managers, c.RMID) {
		return false
	}
	if f.xid != 0 && c.XID != f.xid && (t == nil || t.XID != f.xid) {
		return false
	}
	return f.relation == nil || touches(*f.relation, c, b, t)
}

func touches(l record.Locator, c record.Record, b *record.Body, t *record.Transaction) bool {
	for i := range b.Blocks {
		if b.Blocks[i].Relation == l {
			return true
		}
	}
	if record.IsFileChange(c) {
		var f record.FileChange
		return f.Decode(c, b) == nil && f.Relation == l
	}
	if t != nil {
		for dropped := range t.Dropped.All() {
			if dropped == l {
				return true
			}
		}
	}
	return false
}

// A recordSink takes the records that were chosen.
type recordSink interface {
	record(v record.Version, c record.Record, b *record.Body, t *record.Transaction) error
	finish() error
}

// keptBody is how much of a record's body is decoded, in bytes: all but a few are shorter.
const keptBody = 1 << 20

// inspectRecords walks the records of a range and hands on those that the filter takes.
func inspectRecords(ctx context.Context, env *environment, o inspectOptions, line *walLine, filter recordFilter, sink recordSink) error {
	w := recordWalk{limit: o.limit, line: line, filter: filter, sink: sink}
	w.reader = record.NewReader(line.catalog.SystemID(), line.branch.Lineage.Timeline, line.size, line.size.Start(line.from))
	w.reader.AllowPadding()
	w.reader.KeepBodies(keptBody)
	walkErr := w.run(ctx)
	if err := sink.finish(); err != nil {
		return errors.Join(walkErr, err)
	}
	if start, ok := w.reader.Pending(); walkErr == nil && ok && !w.isDone && line.to == line.branch.Frontier {
		env.logger.Info("the archive ends within a record", "lsn", start.String(), "end", line.to.String())
	}
	return walkErr
}

type recordWalk struct {
	line   *walLine
	filter recordFilter
	sink   recordSink
	reader *record.Reader
	limit  int // 0 for none
	taken  int
	isDone bool
	body   record.Body
	end    record.Transaction
}

func (w *recordWalk) run(ctx context.Context) error {
	for part, err := range w.line.segments(ctx) {
		if err != nil {
			return err
		}
		w.reader.Feed(part.content)
		for !w.isDone && w.reader.Next() {
			if err := w.one(); err != nil {
				return err
			}
		}
		if w.isDone {
			return nil
		}
		if err := w.reader.Err(); err != nil {
			return fmt.Errorf("segment %s: %w", part.name, err)
		}
	}
	return nil
}

func (w *recordWalk) one() error {
	c := w.reader.Record()
	if c.LSN < w.line.from {
		return nil
	}
	if isBeyond(c, w.line.to) {
		w.isDone = true
		return nil
	}
	v := w.reader.Version()
	if err := w.body.Decode(v, c, w.reader.Prefix()); err != nil {
		return err
	}
	var t *record.Transaction
	if record.IsEnd(c) && w.end.Decode(v, c, &w.body) == nil {
		t = &w.end // one that is too long to be kept is shown without
	}
	if !w.filter.takes(c, &w.body, t) {
		return nil
	}
	w.taken++
	w.isDone = w.taken == w.limit
	return w.sink.record(v, c, &w.body, t)
}

// isBeyond reports whether a record ends behind to. Its end is rounded up to 8, and that of a switch to the end of its segment.
func isBeyond(c record.Record, to segment.LSN) bool {
	if record.IsSwitch(c) {
		return c.LSN >= to
	}
	return c.End > (to+7)&^7
}
