package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// MaxAhead is how many segments before the newest one the search for the Frontier begins. A writer must never put a
// segment MaxAhead or more segments beyond the Frontier.
const MaxAhead = 256

// Begin notes, before the first byte is received, that the archived WAL of a lineage begins at from, a segment boundary.
// Segments are stored out of order: without the note a crash before the first segment was stored could hide it for ever.
func (c *Catalog) Begin(ctx context.Context, l segment.Lineage, from segment.LSN, now time.Time) error {
	if c.size.Offset(from) != 0 || from == 0 {
		return fmt.Errorf("WAL of %s can't begin at %s: not the beginning of a segment that PostgreSQL uses", l, from)
	}
	key := c.keys.begin(l, from)
	data, err := json.Marshal(struct {
		Format int       `json:"format"`
		Noted  time.Time `json:"noted"`
	}{1, now.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := c.store.Put(ctx, key, data); err != nil && !errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// Started returns where the archived WAL of a lineage begins; ok is false if nothing of it was ever archived.
func (c *Catalog) Started(ctx context.Context, l segment.Lineage) (from segment.LSN, ok bool, err error) {
	prefix := c.keys.begins(l)
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return 0, false, fmt.Errorf("list %s: %w", prefix, err)
		}
		lsn, err := parseLast(object.Key, prefix, ".json", 16)
		if err != nil {
			return 0, false, err
		}
		from, ok = segment.LSN(lsn), true // the last one counts: retention moves the beginning forward
	}
	return from, ok, nil
}

// Frontier returns the end of the contiguous durable WAL of a lineage: of its segments and of the tail behind them.
// Ranges of recorded gaps count as passed. ok is false if nothing of the lineage was ever archived. About a dozen LISTs up to
// a thousand segments, and two more each time that doubles.
func (c *Catalog) Frontier(ctx context.Context, l segment.Lineage) (end segment.LSN, ok bool, err error) {
	begin, ok, err := c.Started(ctx, l)
	if err != nil || !ok {
		return 0, false, err
	}
	gaps, err := c.recordedGaps(ctx, l)
	if err != nil {
		return 0, false, err
	}
	first := segment.NameAt(l.Timeline, begin, c.size)
	newest, found, err := c.newestSegment(ctx, l, first)
	if err != nil {
		return 0, false, err
	}
	if found && newest.Number > first.Number+MaxAhead {
		first.Number = newest.Number - MaxAhead
	}
	end, err = c.contiguous(ctx, l, first, gaps)
	return end, true, err
}

// newestSegment finds a stored segment behind which fewer than MaxAhead segments follow up to the highest number that is
// stored, from first on, by doubling and then halving a distance.
func (c *Catalog) newestSegment(ctx context.Context, l segment.Lineage, first segment.Name) (newest segment.Name, found bool, err error) {
	if newest, found, err = c.firstFrom(ctx, l, first); err != nil || !found {
		return first, false, err
	}
	ahead := func(distance segment.Number) (bool, error) {
		probe := newest
		probe.Number += distance - 1
		n, ok, err := c.anySegmentAfter(ctx, l, probe)
		if ok {
			newest = n
		}
		return ok, err
	}
	distance := segment.Number(MaxAhead)
	for ok := true; ok; {
		if ok, err = ahead(distance); err != nil {
			return newest, false, err
		}
		if ok {
			distance *= 2
		}
	}
	for ; distance > MaxAhead; distance /= 2 {
		if _, err = ahead(distance / 2); err != nil {
			return newest, false, err
		}
	}
	return newest, true, nil
}

// firstFrom returns the first stored segment at or behind n.
func (c *Catalog) firstFrom(ctx context.Context, l segment.Lineage, n segment.Name) (segment.Name, bool, error) {
	if n.Number == 0 {
		return c.anySegmentAfter(ctx, l, n) // PostgreSQL has no segment 0
	}
	n.Number--
	return c.anySegmentAfter(ctx, l, n)
}

// contiguous walks from segment n upwards to the first byte that is not stored.
func (c *Catalog) contiguous(ctx context.Context, l segment.Lineage, n segment.Name, gaps []Gap) (segment.LSN, error) {
	before := n
	before.Number--
	end := n.Start()
	for stored, err := range c.segmentsAfter(ctx, l, c.keys.segment(l, before)) {
		if err != nil {
			return 0, err
		}
		for end < stored.Start() {
			next, err := c.passTail(ctx, l, end, gaps)
			if err != nil {
				return 0, err
			}
			if next == end || next < stored.Start() && c.size.Offset(next) != 0 {
				return next, nil
			}
			end = next
		}
		end = max(end, stored.End())
	}
	for {
		next, err := c.passTail(ctx, l, end, gaps)
		if err != nil || next == end || c.size.Offset(next) != 0 {
			return next, err
		}
		end = next
	}
}

// passTail returns how far beyond end, a segment boundary, the tail of that segment and recorded gaps lead.
func (c *Catalog) passTail(ctx context.Context, l segment.Lineage, end segment.LSN, gaps []Gap) (segment.LSN, error) {
	n := segment.NameAt(l.Timeline, end, c.size)
	offset, err := c.TailEnd(ctx, l, n)
	if err != nil {
		return 0, err
	}
	return passGaps(end+segment.LSN(offset), gaps), nil
}

// passGaps returns the end of the gaps that contain lsn, or lsn.
func passGaps(lsn segment.LSN, gaps []Gap) segment.LSN {
	for _, g := range gaps { // in order of From
		if g.Kind.breaks() && g.From <= lsn && lsn < g.To {
			lsn = g.To
		}
	}
	return lsn
}
