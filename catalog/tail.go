package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"walkeep/segment"
	"walkeep/storage"
)

// A tail is a chain: the first link's key is offset 0, each next link's key is the offset where the one before
// ended. Create-only keys put all writers in one order. Roll-ups hold what many links hold: [from, to) under
// the key of to. A reader goes back from the newest roll-up, each one's from being the next one's to, until
// offset 0, and then forward over the links behind the newest roll-up.

// PutLink appends [statement.From, statement.To) to the tail of segment n; object must begin with the
// statement. storage.ErrExists if somebody has appended at that place already: find the end with TailEnd, check
// with CompareTail, go on behind it.
func (c *Catalog) PutLink(ctx context.Context, n segment.Name, statement segment.Statement, object []byte) error {
	key := c.keys.link(statement.Lineage, n, int(statement.From-n.Start()))
	if err := c.store.Put(ctx, key, object); err != nil {
		return fmt.Errorf("put link %s of %s: %w", statement.From, n, err)
	}
	return nil
}

// Link returns the statement of the stored link at the place of ours.
func (c *Catalog) Link(ctx context.Context, n segment.Name, ours segment.Statement) (segment.Statement, error) {
	p, err := c.getPiece(ctx, ours.Lineage, n, c.keys.link(ours.Lineage, n, int(ours.From-n.Start())))
	return p.statement, err
}

// PutRollup stores what the links of [statement.From, statement.To) hold as one object. storage.ErrExists if
// there is one that ends at the same place.
func (c *Catalog) PutRollup(ctx context.Context, n segment.Name, statement segment.Statement, object []byte) error {
	key := c.keys.rollup(statement.Lineage, n, int(statement.To-n.Start()))
	if err := c.store.Put(ctx, key, object); err != nil {
		return fmt.Errorf("put roll-up %s of %s: %w", statement.To, n, err)
	}
	return nil
}

// piece is one object of a tail that a reader needs.
type piece struct {
	key       Key
	statement segment.Statement
	object    []byte
}

// errBrokenTail: a piece that others lead to is not there. The segment may have become whole and its tail deleted
// meanwhile.
var errBrokenTail = errors.New("tail is not whole")

// getPiece reads one object of a tail.
func (c *Catalog) getPiece(ctx context.Context, l segment.Lineage, n segment.Name, key Key) (piece, error) {
	object, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return piece{}, fmt.Errorf("get %s: %w", key, err)
	}
	s, _, err := segment.ParseStatement(object)
	if err != nil {
		return piece{}, fmt.Errorf("%s: %w", key, err)
	}
	if s.SystemID != c.systemID || s.Lineage != l || s.From < n.Start() || s.To > n.End() || s.From >= s.To {
		return piece{}, fmt.Errorf("%s: %w: it holds %s, which is not of segment %s", key, segment.ErrDamaged, s, n)
	}
	if from, to := int(s.From-n.Start()), int(s.To-n.Start()); key != c.keys.link(l, n, from) && key != c.keys.rollup(l, n, to) {
		return piece{}, fmt.Errorf("%s: %w: it holds %s, which belongs under another key", key, segment.ErrDamaged, s)
	}
	return piece{key: key, statement: s, object: object}, nil
}

// newestRollup returns the offset at which the newest roll-up ends; 0 if there is none.
func (c *Catalog) newestRollup(ctx context.Context, l segment.Lineage, n segment.Name) (int, error) {
	prefix, end := c.keys.tail(l, n)+rollupMark, 0
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		offset, err := parseLast(object.Key, prefix, "", 8)
		if err != nil {
			return 0, err
		}
		end = int(offset)
	}
	return end, nil
}

// linksFrom lists the links at or behind an offset, in order.
func (c *Catalog) linksFrom(ctx context.Context, l segment.Lineage, n segment.Name, offset int) ([]Key, error) {
	prefix := c.keys.tail(l, n)
	after := ""
	if offset > 0 {
		after = c.keys.link(l, n, offset-1)
	}
	var links []Key
	for object, err := range c.store.List(ctx, prefix, after) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if strings.HasPrefix(object.Key, prefix+rollupMark) {
			break
		}
		if _, err := parseLast(object.Key, prefix, "", 8); err != nil {
			return nil, err
		}
		links = append(links, object.Key)
	}
	return links, nil
}

// TailEnd returns how many bytes of segment n the tail holds, from the segment's first byte; 0 if there is none. A last link
// that can't be read as one counts as not there: where it ends nobody knows. Two or three LISTs and one GET, however long the
// tail is.
func (c *Catalog) TailEnd(ctx context.Context, l segment.Lineage, n segment.Name) (int, error) {
	rolled, err := c.newestRollup(ctx, l, n)
	if err != nil {
		return 0, err
	}
	links, err := c.linksFrom(ctx, l, n, rolled)
	if err != nil || len(links) == 0 || links[0] != c.keys.link(l, n, rolled) {
		return rolled, err
	}
	key := links[len(links)-1]
	last, err := c.getPiece(ctx, l, n, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return 0, fmt.Errorf("tail of %s: %w", n, errBrokenTail)
	case IsDamaged(err):
		offset, err := parseLast(key, c.keys.tail(l, n), "", 8)
		return int(offset), err
	}
	return int(last.statement.To - n.Start()), err
}

// IsDamaged reports whether a stored object could be had, but is not what its key says.
func IsDamaged(err error) bool {
	return errors.Is(err, segment.ErrDamaged) || errors.Is(err, segment.ErrNoStatement)
}

// pieces calls visit for the objects that together hold the tail, up to limit bytes; their order is not that of the
// WAL. Links that begin at or behind limit are not read. It returns where the tail ends.
func (c *Catalog) pieces(ctx context.Context, l segment.Lineage, n segment.Name, limit int, visit func(piece) error) (int, error) {
	rolled, err := c.newestRollup(ctx, l, n)
	if err != nil {
		return 0, err
	}
	links, err := c.linksFrom(ctx, l, n, rolled)
	if err != nil {
		return 0, err
	}
	for end := rolled; end > 0; {
		p, err := c.visitPiece(ctx, l, n, c.keys.rollup(l, n, end), visit)
		if err != nil {
			return 0, err
		}
		end = int(p.From - n.Start())
	}
	end := rolled
	for _, key := range links {
		if key != c.keys.link(l, n, end) {
			return 0, fmt.Errorf("tail of %s: no link at offset %d: %w", n, end, errBrokenTail)
		}
		if end >= limit {
			break
		}
		p, err := c.visitPiece(ctx, l, n, key, visit)
		if err != nil {
			return 0, err
		}
		end = int(p.To - n.Start())
	}
	return end, nil
}

func (c *Catalog) visitPiece(ctx context.Context, l segment.Lineage, n segment.Name, key Key, visit func(piece) error) (segment.Statement, error) {
	p, err := c.getPiece(ctx, l, n, key)
	if errors.Is(err, storage.ErrNotFound) {
		return segment.Statement{}, fmt.Errorf("tail of %s: %s: %w", n, key, errBrokenTail)
	}
	if err != nil {
		return segment.Statement{}, err
	}
	return p.statement, visit(p)
}

// CompareTail compares the tail of segment n with our bytes of that segment, from its first byte. It returns where the
// tail ends; raw must reach at least that far (TailEnd). *ForkError names the first piece that differs.
func (c *Catalog) CompareTail(ctx context.Context, l segment.Lineage, n segment.Name, raw []byte) (int, error) {
	return c.pieces(ctx, l, n, len(raw), func(p piece) error {
		if to := int(p.statement.To - n.Start()); to > len(raw) {
			return fmt.Errorf("tail of %s reaches %d bytes, we have %d: %w", n, to, len(raw), errBrokenTail)
		}
		return TailPiece{p.key, p.statement}.Compare(n.Start(), raw)
	})
}

// IsBrokenTail reports whether a tail could not be read because a piece was missing: most likely it is being
// deleted because its segment has been stored.
func IsBrokenTail(err error) bool { return errors.Is(err, errBrokenTail) }

// Tail appends to dst the bytes that the tail of segment n holds, from the segment's first byte, each piece
// checked. Nothing is appended if there is no tail. IsBrokenTail(err): look for the whole segment again.
func (c *Catalog) Tail(ctx context.Context, l segment.Lineage, n segment.Name, dst []byte) ([]byte, error) {
	start := len(dst)
	out := dst
	end, err := c.pieces(ctx, l, n, int(c.size), func(p piece) error {
		from, to := int(p.statement.From-n.Start()), int(p.statement.To-n.Start())
		if need := start + to; len(out) < need {
			out = append(out, make([]byte, need-len(out))...)
		}
		raw, _, err := segment.Decode(out[start+from:start+from:start+to], p.object)
		if err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
		copy(out[start+from:], raw) // Decode may have had to grow its slice
		return nil
	})
	if err != nil {
		return dst, err
	}
	return out[:start+end], nil
}

// DropTail deletes the tail of segment n. Only when the segment itself is durable.
func (c *Catalog) DropTail(ctx context.Context, l segment.Lineage, n segment.Name) error {
	var tail []Key
	prefix := c.keys.tail(l, n)
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		tail = append(tail, object.Key)
	}
	if len(tail) == 0 {
		return nil
	}
	// From the end, roll-ups before links: what is left of an interrupted deletion is a shorter tail.
	for i, j := 0, len(tail)-1; i < j; i, j = i+1, j-1 {
		tail[i], tail[j] = tail[j], tail[i]
	}
	if err := c.store.Delete(ctx, tail...); err != nil {
		return fmt.Errorf("delete tail of %s: %w", n, err)
	}
	return nil
}
