package catalog

import (
	"context"
	"fmt"
	"time"

	"walkeep/segment"
)

// An AheadError says that a segment lies so far behind the end of the contiguous archive that storing it would hide what is
// missing in between.
type AheadError struct {
	Name     segment.Name
	Lineage  segment.Lineage
	Frontier segment.LSN
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("%s is refused: the archive of %s ends at %s, %d segments before it", e.Name, e.Lineage, e.Frontier,
		uint64(e.Name.Number-e.Name.Size.Number(e.Frontier)))
}

// Outcome says what Put found.
type Outcome string

// Outcomes of Put.
const (
	OutcomeStored  Outcome = "stored"
	OutcomePresent Outcome = "present" // with equal bytes
)

// Put stores an accepted segment, or finds that it is archived with the same bytes. Errors: *ForkError if the archive holds other
// bytes; *AheadError; others are trouble with the store.
func (i *Import) Put(ctx context.Context, a Accepted) (Outcome, error) {
	c := i.catalog
	statement := segment.NewStatement(c.systemID, a.Lineage, a.Name.Start(), a.raw)
	around, err := c.around(ctx, a.Lineage, a.Name)
	if err != nil {
		return "", err
	}
	if around.stored {
		return OutcomePresent, c.settle(ctx, c.keys.segment(a.Lineage, a.Name), statement)
	}
	if err := c.room(ctx, a, around); err != nil {
		return "", err
	}
	if err := c.compare(ctx, a); err != nil {
		return "", err
	}
	object, err := segment.NewEncoder().Encode(make([]byte, 0, segment.MaxEncoded(len(a.raw))), statement, a.raw)
	if err != nil {
		return "", err
	}
	return OutcomeStored, c.PutSegment(ctx, a.Name, statement, object)
}

// compare compares a segment that is not archived with what is: the parent's bytes before a fork in it, and its tail.
func (c *Catalog) compare(ctx context.Context, a Accepted) error {
	prefix, err := c.forkBytes(ctx, a.line.parent, a.Name)
	if err != nil {
		return err
	}
	if err := c.sameStart("the parent timeline's segment of "+a.Name.String(), a.Lineage, a.Name, a.raw, prefix); err != nil {
		return err
	}
	_, err = c.CompareTail(ctx, a.Lineage, a.Name, a.raw)
	if IsBrokenTail(err) {
		return nil // the segment has become whole meanwhile: PutSegment compares
	}
	return err
}

// surroundings is what is archived near a segment.
type surroundings struct {
	stored bool                    // the segment itself
	later  bool                    // a segment behind it
	before map[segment.Number]bool // of the 2*MaxAhead segments before it
	newest segment.Number          // of those
}

// around looks at what is archived near segment n: one LIST.
func (c *Catalog) around(ctx context.Context, l segment.Lineage, n segment.Name) (surroundings, error) {
	s := surroundings{before: map[segment.Number]bool{}}
	after := ""
	if n.Number > 2*MaxAhead {
		first := n
		first.Number -= 2*MaxAhead + 1
		after = c.keys.segment(l, first)
	}
	for stored, err := range c.segmentsAfter(ctx, l, after) {
		if err != nil {
			return s, err
		}
		switch {
		case stored.Number < n.Number:
			s.before[stored.Number], s.newest = true, stored.Number
		case stored.Number == n.Number:
			s.stored = true
			return s, nil
		default:
			s.later = true
			return s, nil
		}
	}
	return s, nil
}

// room makes sure that the search for the Frontier still finds what is missing before the segment once it is stored: see
// MaxAhead. What is near it tells in most cases, since no earlier segment was stored too far ahead either.
func (c *Catalog) room(ctx context.Context, a Accepted, s surroundings) error {
	begin, n := c.size.Number(a.line.begin), a.Name.Number
	if s.later || n < begin+MaxAhead || s.reaches(n, begin) {
		return nil
	}
	frontier, _, err := c.Frontier(ctx, a.Lineage)
	if err != nil || n < c.size.Number(frontier)+MaxAhead {
		return err
	}
	return &AheadError{Name: a.Name, Lineage: a.Lineage, Frontier: frontier}
}

// reaches reports whether all is there from MaxAhead before the newest segment to MaxAhead before n.
func (s surroundings) reaches(n, begin segment.Number) bool {
	if len(s.before) == 0 {
		return false
	}
	from := begin
	if s.newest > MaxAhead {
		from = max(begin, s.newest-MaxAhead)
	}
	for k := from; k+MaxAhead <= n; k++ {
		if !s.before[k] {
			return false
		}
	}
	return true
}

// ExtendBegin moves the noted beginning of a lineage back over the segments that are stored directly before it, as an import of
// older WAL leaves them, and returns where it is then. It lists the segments before the beginning, and deletes the notes that
// said otherwise: where that is not allowed, the beginning stays and the error says so.
func (c *Catalog) ExtendBegin(ctx context.Context, l segment.Lineage, now time.Time) (segment.LSN, error) {
	begin, ok, err := c.Started(ctx, l)
	if err != nil || !ok {
		return begin, err
	}
	var from, end segment.LSN
	for n, err := range c.segmentsAfter(ctx, l, "") {
		if err != nil {
			return begin, err
		}
		if n.Start() >= begin {
			break
		}
		if n.Start() != end || from == 0 {
			from = n.Start()
		}
		end = n.End()
	}
	if end != begin {
		return begin, nil
	}
	if err := c.Begin(ctx, l, from, now); err != nil {
		return begin, err
	}
	return from, c.dropBeginsAfter(ctx, l, from)
}

func (c *Catalog) dropBeginsAfter(ctx context.Context, l segment.Lineage, from segment.LSN) error {
	prefix := c.keys.begins(l)
	var later []Key
	for object, err := range c.store.List(ctx, prefix, c.keys.begin(l, from)) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		later = append(later, object.Key)
	}
	if len(later) == 0 {
		return nil
	}
	if err := c.store.Delete(ctx, later...); err != nil {
		return fmt.Errorf("move the beginning of %s back to %s: %w", l, from, err)
	}
	return nil
}
