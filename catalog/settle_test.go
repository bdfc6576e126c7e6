package catalog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// encode returns the object that holds raw, and its statement.
func encode(t testing.TB, l segment.Lineage, from segment.LSN, raw []byte) (segment.Statement, []byte) {
	t.Helper()
	s := segment.NewStatement(testSystem, l, from, raw)
	object, err := segment.NewEncoder().Encode(nil, s, raw)
	if err != nil {
		t.Fatal(err)
	}
	return s, object
}

// rawSegment returns bytes for a whole segment that differ with seed.
func rawSegment(seed byte) []byte {
	raw := make([]byte, segment.MinSize)
	for i := 0; i < len(raw); i += 1000 {
		raw[i] = seed + byte(i/1000)
	}
	return raw
}

// TestSegmentIsSettled: a taken key is success if its object states the same, whatever its encoding; a fork that names both if
// not; and in no case is anything overwritten.
func TestSegmentIsSettled(t *testing.T) {
	ctx := context.Background()
	n, two := oneN(5), segment.Lineage{}
	two, _ = second(t)
	stated, object := encode(t, one, n.Start(), rawSegment(1))
	with := func(change func(*segment.Statement)) []byte {
		s := stated
		change(&s)
		return append(s.Append(nil), object[segment.StatementSize:]...)
	}
	for name, tt := range map[string]struct {
		stored []byte
		fork   bool
	}{
		"the same object":              {object, false},
		"the same WAL, encoded anew":   {append(bytes.Clone(object), 0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0), false},
		"other bytes":                  {with(func(s *segment.Statement) { s.Hash++ }), true},
		"of another cluster":           {with(func(s *segment.Statement) { s.SystemID++ }), true},
		"of another lineage":           {with(func(s *segment.Statement) { s.Lineage = two }), true},
		"of another range":             {with(func(s *segment.Statement) { s.From -= 8; s.To -= 8 }), true},
		"part of it":                   {with(func(s *segment.Statement) { s.To -= 8 }), true},
		"without a statement":          {object[segment.StatementSize:], true},
		"cut off within its statement": {object[:30], true},
		"empty":                        {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			store := storagetest.NewMemory()
			c := newCatalog(t, store)
			key := c.keys.segment(one, n)
			if err := store.Put(ctx, key, tt.stored); err != nil {
				t.Fatal(err)
			}
			err := c.PutSegment(ctx, n, stated, object)
			var fork *ForkError
			if tt.fork != errors.As(err, &fork) || !tt.fork && err != nil {
				t.Fatalf("PutSegment = %v", err)
			}
			if fork != nil {
				if fork.Key != key || fork.Ours != stated || fork.Stored == stated ||
					!strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), stated.String()) {
					t.Errorf("%+v: %s", fork, err)
				}
				if s, _, err := segment.ParseStatement(tt.stored); err == nil && !strings.Contains(fork.Error(), s.String()) {
					t.Errorf("the error doesn't name what is stored: %s", fork)
				}
			}
			if got, err := store.Get(ctx, key, nil); err != nil || !bytes.Equal(got, tt.stored) {
				t.Errorf("the object has changed, %v", err)
			}
		})
	}
}

// TestSettlingFails: when what is stored can't be looked at, nobody knows whether it is a fork.
func TestSettlingFails(t *testing.T) {
	ctx, faulty := context.Background(), storagetest.NewFaulty(storagetest.NewMemory())
	c := newCatalog(t, faulty)
	s, object := encode(t, one, oneN(5).Start(), rawSegment(1))
	if err := c.PutSegment(ctx, oneN(5), s, object); err != nil {
		t.Fatal(err)
	}
	for _, failure := range []error{storagetest.ErrInjected, storage.ErrDenied} {
		faulty.FailNext(storage.OpGet, failure)
		err := c.PutSegment(ctx, oneN(5), s, object)
		if fork := (*ForkError)(nil); !errors.Is(err, failure) || errors.As(err, &fork) {
			t.Errorf("PutSegment = %v, want %v", err, failure)
		}
	}
}

func TestSegmentIsRead(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	n, raw := oneN(5), rawSegment(7)
	if _, err := c.Segment(ctx, one, n, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	s, object := encode(t, one, n.Start(), raw)
	if err := c.PutSegment(ctx, n, s, object); err != nil {
		t.Fatal(err)
	}
	got, err := c.Segment(ctx, one, n, []byte("before"))
	if err != nil || !bytes.Equal(got, append([]byte("before"), raw...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for n, want := range map[int]bool{4: false, 5: true, 6: false} {
		if stored, err := c.SegmentStored(ctx, one, oneN(n)); err != nil || stored != want {
			t.Errorf("segment %d is stored: %v, %v", n, stored, err)
		}
	}
	// An object in the wrong place, or damaged, is never served.
	other := oneN(6)
	if err := store.Put(ctx, c.keys.segment(one, other), object); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Segment(ctx, one, other, nil); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("segment 5 under the key of 6: %v", err)
	}
	for _, at := range []int{0, 20, 62, 64, 70, len(object) / 2, len(object) - 1} {
		store.Corrupt(c.keys.segment(one, n), func(p []byte) []byte { p[at] ^= 4; return p })
		if got, err := c.Segment(ctx, one, n, nil); !IsDamaged(err) || len(got) != 0 || !strings.Contains(err.Error(), n.String()) {
			t.Errorf("bit flipped at %d: %d bytes, %v", at, len(got), err)
		}
		store.Corrupt(c.keys.segment(one, n), func(p []byte) []byte { p[at] ^= 4; return p })
	}
}

func TestLaterThan(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	w := newWorld(newCatalog(t, store), one)
	expect := func(n int, want string) {
		t.Helper()
		if got, err := w.c.LaterThan(ctx, one, oneN(n)); err != nil || !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("later than %d: %q, %v, want %q", n, got, err, want)
		}
	}
	expect(1, "")
	w.link(t, 5, 1000, true)
	w.link(t, 5, 1000, false)
	expect(4, "tail of segment "+oneN(5).String())
	expect(5, "")
	expect(6, "")
	w.store(t, 3)
	expect(2, "segment "+oneN(3).String())
	expect(3, "tail of segment "+oneN(5).String())
	two, _ := second(t)
	if got, err := w.c.LaterThan(ctx, two, segment.Name{Timeline: 2, Number: 1, Size: segment.MinSize}); err != nil || got != "" {
		t.Errorf("on another lineage: %q, %v", got, err)
	}
}
