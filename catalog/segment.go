package catalog

import (
	"context"
	"errors"
	"fmt"

	"walkeep/segment"
	"walkeep/storage"
)

// ForkError: an object that the repository holds states other bytes than ours for the same WAL. Two servers
// wrote different WAL under one identity. Nothing was overwritten.
type ForkError struct {
	Key    Key
	Stored segment.Statement // what the object states; zero if it has no valid statement
	Ours   segment.Statement
}

func (e *ForkError) Error() string {
	stored := "no valid statement"
	if e.Stored != (segment.Statement{}) {
		stored = e.Stored.String()
	}
	return fmt.Sprintf("the repository holds other WAL than this server sends: %s holds %s; this server sends %s. "+
		"Two servers have written to one timeline: find out which one is right; walkeep overwrites neither", e.Key, stored, e.Ours)
}

// PutSegment stores an encoded segment: object must begin with the statement. If the segment is there already
// with the same statement, that is success. *ForkError if it is there with another one.
func (c *Catalog) PutSegment(ctx context.Context, n segment.Name, statement segment.Statement, object []byte) error {
	key := c.keys.segment(statement.Lineage, n)
	err := c.store.Put(ctx, key, object)
	if errors.Is(err, storage.ErrExists) {
		return c.settle(ctx, key, statement)
	}
	if err != nil {
		return fmt.Errorf("put segment %s: %w", n, err)
	}
	return nil
}

// settle decides what ErrExists meant: nil if the object under key states the same as ours.
func (c *Catalog) settle(ctx context.Context, key Key, ours segment.Statement) error {
	object, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return fmt.Errorf("compare with what is stored: get %s: %w", key, err)
	}
	stored, _, err := segment.ParseStatement(object)
	if err != nil || stored != ours {
		return &ForkError{Key: key, Stored: stored, Ours: ours}
	}
	return nil
}

// Segment appends the raw bytes of an archived segment to dst, checked against what it states.
// storage.ErrNotFound if the store said that there is none.
func (c *Catalog) Segment(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, error) {
	key := c.keys.segment(l, n)
	object, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return dst, fmt.Errorf("get segment %s: %w", n, err)
	}
	raw, statement, err := segment.Decode(dst, object)
	if err != nil {
		return dst, fmt.Errorf("segment %s (%s): %w", n, key, err)
	}
	if err := c.belongs(statement, l, n.Start(), n.End()); err != nil {
		return dst, fmt.Errorf("segment %s (%s): %w", n, key, err)
	}
	return raw, nil
}

// belongs checks that a statement is of this cluster and lineage and covers exactly [from, to).
func (c *Catalog) belongs(s segment.Statement, l segment.Lineage, from, to segment.LSN) error {
	if s.SystemID != c.systemID || s.Lineage != l || s.From != from || s.To != to {
		return fmt.Errorf("%w: it holds %s, not [%s, %s) of %s", segment.ErrDamaged, s, from, to, l)
	}
	return nil
}

// SegmentStored reports whether the segment is in the repository, without reading it.
func (c *Catalog) SegmentStored(ctx context.Context, l segment.Lineage, n segment.Name) (bool, error) {
	key := c.keys.segment(l, n)
	for object, err := range c.store.List(ctx, key, "") {
		if err != nil {
			return false, fmt.Errorf("list %s: %w", key, err)
		}
		return object.Key == key, nil
	}
	return false, nil
}

// anySegmentAfter reports the first stored segment of the lineage beyond n, if there is one.
func (c *Catalog) anySegmentAfter(ctx context.Context, l segment.Lineage, n segment.Name) (segment.Name, bool, error) {
	for name, err := range c.segmentsAfter(ctx, l, c.keys.segment(l, n)) {
		return name, err == nil, err
	}
	return segment.Name{}, false, nil
}

// segmentsAfter yields the names of the stored segments of a lineage behind a key, in order.
func (c *Catalog) segmentsAfter(ctx context.Context, l segment.Lineage, after Key) func(func(segment.Name, error) bool) {
	prefix := c.keys.segments(l)
	return func(yield func(segment.Name, error) bool) {
		for object, err := range c.store.List(ctx, prefix, after) {
			if err != nil {
				yield(segment.Name{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			n, err := c.segmentName(l, object.Key)
			if err != nil || !yield(n, nil) {
				if err != nil {
					yield(segment.Name{}, err)
				}
				return
			}
		}
	}
}

func (c *Catalog) segmentName(l segment.Lineage, key Key) (segment.Name, error) {
	if len(key) < 24 {
		return segment.Name{}, fmt.Errorf("object %q has no place here", key)
	}
	n, err := segment.ParseName(key[len(key)-24:], c.size)
	if err != nil || n.Timeline != l.Timeline || c.keys.segment(l, n) != key {
		return segment.Name{}, fmt.Errorf("object %q has no place here", key)
	}
	return n, nil
}

// LaterThan names something archived of the lineage that lies behind segment n: a segment, or the tail of one. "" if there
// is nothing.
func (c *Catalog) LaterThan(ctx context.Context, l segment.Lineage, n segment.Name) (string, error) {
	later, ok, err := c.anySegmentAfter(ctx, l, n)
	if err != nil {
		return "", err
	}
	if ok {
		return "segment " + later.String() + " is archived", nil
	}
	prefix := c.keys.under("tail") + l.String() + "/"
	for object, err := range c.store.List(ctx, prefix, c.keys.link(l, n, int(c.size))+"~") {
		if err != nil {
			return "", fmt.Errorf("list %s: %w", prefix, err)
		}
		if rest := object.Key[len(prefix):]; len(rest) > 24 && rest[:24] != n.String() {
			return "the tail of segment " + rest[:24] + " is archived", nil
		}
	}
	return "", nil
}
