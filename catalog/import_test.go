package catalog

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func memoryCatalog(t *rapid.T) *Catalog {
	c, _, err := Create(context.Background(), storagetest.NewMemory(), 7, segment.MinSize, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever is pushed in whatever order, the Frontier is found: a segment that would hide a hole is refused, and no other.
func TestImportKeepsTheFrontierFindable(t *testing.T) {
	ctx, l := t.Context(), segment.Lineage{Timeline: 1}
	rapid.Check(t, func(t *rapid.T) {
		c := memoryCatalog(t)
		begin := segment.Number(rapid.IntRange(1, 600).Draw(t, "begin"))
		name := func(k segment.Number) segment.Name {
			return segment.Name{Timeline: 1, Number: k, Size: segment.MinSize}
		}
		if err := c.Begin(ctx, l, name(begin).Start(), time.Now()); err != nil {
			t.Fatal(err)
		}
		stored := map[segment.Number]bool{}
		frontier := begin
		facts := &line{begin: name(begin).Start()}
		put := func(k segment.Number) {
			if err := c.store.Put(ctx, c.keys.segment(l, name(k)), nil); err != nil && !errors.Is(err, storage.ErrExists) {
				t.Fatal(err)
			}
			stored[k] = true
			for stored[frontier] {
				frontier++
			}
		}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			next := begin + segment.Number(rapid.IntRange(0, 900).Draw(t, "anywhere"))
			if rapid.Bool().Draw(t, "near the end") {
				next = frontier + segment.Number(rapid.SampledFrom([]int{0, 1, 2, 100, 254, 255, 256, 257}).Draw(t, "ahead"))
			}
			s, err := c.around(ctx, l, name(next))
			if err != nil || s.stored != stored[next] {
				t.Fatalf("around %d: stored %v, want %v (%v)", next, s.stored, stored[next], err)
			}
			if s.stored {
				continue
			}
			err = c.room(ctx, Accepted{Name: name(next), Lineage: l, line: facts}, s)
			if beyond := next >= frontier+MaxAhead && !later(stored, next); errors.As(err, new(*AheadError)) != beyond || !beyond && err != nil {
				t.Fatalf("segment %d, frontier %d: %v", next, frontier, err)
			}
			if err != nil {
				continue
			}
			put(next)
			for k := range segment.Number(rapid.SampledFrom([]int{0, 1, 90, 300}).Draw(t, "run")) {
				if k += next + 1; k < frontier+MaxAhead {
					put(k)
				}
			}
			if got, _, err := c.Frontier(ctx, l); err != nil || got != name(frontier).Start() {
				t.Fatalf("Frontier %s, want %s (%v)", got, name(frontier).Start(), err)
			}
		}
	})
}

func later(stored map[segment.Number]bool, n segment.Number) bool {
	for k := range stored {
		if k > n {
			return true
		}
	}
	return false
}

// A gap that was acknowledged is known in its parts too, once some of it is healed; one that goes further is not.
func TestOpenGapsKnowsAcknowledgedParts(t *testing.T) {
	ctx, l := t.Context(), segment.Lineage{Timeline: 1}
	c, _, err := Create(ctx, storagetest.NewMemory(), 7, segment.MinSize, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := func(k segment.LSN) segment.LSN { return k * segment.LSN(segment.MinSize) }
	first := Gap{Lineage: l, From: at(3) + 5, To: at(8), Kind: GapLost, Reason: "x"}
	second := Gap{Lineage: l, From: at(9), To: at(11), Kind: GapDamaged, Reason: "y"}
	for _, g := range []Gap{first, second} {
		if err := c.RecordGap(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AcknowledgeGap(ctx, first, "seen", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.AcknowledgeGap(ctx, Gap{Lineage: l, From: at(9), To: at(10)}, "half", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, k := range []segment.Number{3, 5, 9} {
		if err := c.store.Put(ctx, c.keys.segment(l, segment.Name{Timeline: 1, Number: k, Size: segment.MinSize}), nil); err != nil {
			t.Fatal(err)
		}
	}
	open, err := c.OpenGaps(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		from, to     segment.LSN
		acknowledged bool
	}{{at(4), at(5), true}, {at(6), at(8), true}, {at(9), at(11), false}}
	if len(open) != len(want) {
		t.Fatalf("%+v", open)
	}
	for i, w := range want {
		if g := open[i]; g.From != w.from || g.To != w.to || g.Acknowledged != w.acknowledged {
			t.Errorf("gap %d: %+v, want %+v", i, g, w)
		}
	}
}
