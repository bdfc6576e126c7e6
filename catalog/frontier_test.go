package catalog

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// countingStore counts what is asked of it.
type countingStore struct {
	storage.Store
	gets, lists, objects int
}

func (s *countingStore) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	s.gets++
	return s.Store.Get(ctx, key, dst)
}

func (s *countingStore) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	s.lists++
	return func(yield func(storage.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix, after) {
			s.objects++
			if !yield(o, err) {
				return
			}
		}
	}
}

// statement is an object that states [from, to) and holds nothing else: enough for who asks only where WAL ends.
func statement(l segment.Lineage, from, to segment.LSN) []byte {
	s := segment.Statement{SystemID: testSystem, Lineage: l, From: from, To: to}
	return s.Append(nil)
}

// world is what a repository holds of one lineage, as a test knows it.
type world struct {
	c        *Catalog
	l        segment.Lineage
	begin    segment.LSN // 0: nothing
	segments map[segment.Number]bool
	tails    map[segment.Number]segment.LSN // where each ends
	gaps     []Gap
}

func newWorld(c *Catalog, l segment.Lineage) *world {
	return &world{c: c, l: l, segments: map[segment.Number]bool{}, tails: map[segment.Number]segment.LSN{}}
}

func (w *world) name(n segment.Number) segment.Name {
	return segment.Name{Timeline: w.l.Timeline, Number: n, Size: w.c.size}
}

// must fails the test if err is another one than "it is there already".
func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
}

func (w *world) store(t rapid.TB, n segment.Number) {
	w.segments[n] = true
	name := w.name(n)
	must(t, w.c.store.Put(context.Background(), w.c.keys.segment(w.l, name), statement(w.l, name.Start(), name.End())))
}

// link appends to the tail of segment n, and puts a roll-up of all of it if rollup is set.
func (w *world) link(t rapid.TB, n segment.Number, bytes int, rollup bool) {
	ctx, name := context.Background(), w.name(n)
	from := max(w.tails[n], name.Start())
	to := min(from+segment.LSN(bytes), name.End())
	if from == to {
		return
	}
	s := segment.Statement{SystemID: testSystem, Lineage: w.l, From: from, To: to}
	must(t, w.c.PutLink(ctx, name, s, s.Append(nil)))
	w.tails[n] = to
	if rollup {
		s.From = name.Start()
		must(t, w.c.PutRollup(ctx, name, s, s.Append(nil)))
	}
}

func (w *world) gap(t rapid.TB, kind GapKind, from, to segment.LSN) {
	g := Gap{Lineage: w.l, From: from, To: to, Kind: kind, Reason: "test"}
	must(t, w.c.RecordGap(context.Background(), g))
	w.gaps = append(w.gaps, g)
}

// frontier walks byte by byte, as it were, from the beginning: whatever is there of a position leads on.
func (w *world) frontier() segment.LSN {
	at := w.begin
	for again := true; again; {
		again = false
		n := w.c.size.Number(at)
		if w.segments[n] {
			at, again = w.name(n).End(), true
		}
		if end := w.tails[n]; end > at {
			at, again = end, true
		}
		for _, g := range w.gaps {
			if g.Kind == GapLost && g.From <= at && at < g.To {
				at, again = g.To, true
			}
		}
	}
	return at
}

func (w *world) check(t rapid.TB) {
	t.Helper()
	end, ok, err := w.c.Frontier(context.Background(), w.l)
	if err != nil || ok != (w.begin != 0) || ok && end != w.frontier() {
		t.Fatalf("Frontier of %s: %s, %v, %v, want %s; begin %s, segments %v, tails %v, gaps %v",
			w.l, end, ok, err, w.frontier(), w.begin, w.segments, w.tails, w.gaps)
	}
}

// TestFrontierOfAnyRepository: segments out of order, tails of every length with and without roll-ups, gaps from the middle of
// a segment on, a beginning that was moved, several lineages.
func TestFrontierOfAnyRepository(t *testing.T) {
	two, history := second(t)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		c, _, err := Create(ctx, storagetest.NewMemory(), testSystem, segment.MinSize, time.Now())
		must(t, err)
		_, err = c.PutHistory(ctx, 2, history)
		must(t, err)
		worlds := []*world{newWorld(c, one), newWorld(c, two)}
		for _, w := range worlds {
			if rapid.IntRange(0, 9).Draw(t, "nothing") == 0 {
				continue
			}
			first := segment.Number(rapid.IntRange(1, 4090).Draw(t, "begin"))
			w.begin = w.name(first).Start()
			must(t, c.Begin(ctx, w.l, w.begin, time.Now()))
			for range rapid.IntRange(0, 20).Draw(t, "steps") {
				n := first + segment.Number(rapid.IntRange(0, 12).Draw(t, "segment"))
				switch rapid.IntRange(0, 9).Draw(t, "what") {
				case 0, 1, 2, 3, 4:
					w.store(t, n)
				case 5, 6, 7:
					for range rapid.IntRange(1, 4).Draw(t, "links") {
						bytes := rapid.SampledFrom([]int{1, 100, 1 << 19, 1 << 20}).Draw(t, "bytes")
						w.link(t, n, bytes, rapid.Bool().Draw(t, "roll-up"))
					}
				case 8:
					from := max(w.tails[n], w.name(n).Start())
					to := w.name(n + segment.Number(rapid.IntRange(1, 3).Draw(t, "segments"))).Start()
					if from < to {
						w.gap(t, rapid.SampledFrom([]GapKind{GapLost, GapLost, GapDamaged}).Draw(t, "kind"), from, to)
					}
				case 9:
					if rapid.IntRange(0, 3).Draw(t, "retention") == 0 {
						moved := w.name(n).Start()
						must(t, c.Begin(ctx, w.l, moved, time.Now()))
						w.begin = max(w.begin, moved)
					}
				}
			}
		}
		for _, w := range worlds {
			w.check(t)
		}
	})
}

// TestFrontierOfLargeRepositories: with many segments, the newest ones out of order as far as writers may go, the Frontier is
// right and found with few LISTs.
func TestFrontierOfLargeRepositories(t *testing.T) {
	for name, tt := range map[string]struct {
		contiguous, ahead int // segments; behind a hole
		gap               int // segments lost in the middle
		lists             int
	}{
		"257":               {257, 0, 0, 9},
		"300, a hole":       {300, 200, 0, 9},
		"512":               {512, MaxAhead - 1, 0, 9},
		"1000":              {1000, 0, 0, 11},
		"1001":              {1001, 1, 0, 11},
		"5000":              {5000, MaxAhead - 1, 0, 15},
		"a lost stretch":    {300, 10, 2000, 13},
		"a lost end":        {600, 0, 3000, 11},
		"only just begun":   {1, MaxAhead - 1, 0, 9},
		"nothing but ahead": {0, MaxAhead - 1, 0, 8},
	} {
		t.Run(name, func(t *testing.T) {
			store := &countingStore{Store: storagetest.NewMemory()}
			w := newWorld(newCatalog(t, store), one)
			first := segment.Number(100)
			w.begin = w.name(first).Start()
			must(t, w.c.Begin(context.Background(), one, w.begin, time.Now()))
			next := first
			add := func(count int) {
				for range count {
					w.store(t, next)
					next++
				}
			}
			add(tt.contiguous)
			if tt.gap > 0 {
				w.link(t, next, 1000, true)
				w.gap(t, GapLost, w.tails[next], w.name(next+segment.Number(tt.gap)).Start())
				next += segment.Number(tt.gap)
				add(tt.ahead)
			} else if tt.ahead > 0 {
				next++ // a hole
				add(tt.ahead)
			}
			w.link(t, w.c.size.Number(w.frontier()), 5000, false)
			store.lists, store.gets, store.objects = 0, 0, 0
			w.check(t)
			t.Logf("%d segments: %d LISTs of %d objects, %d GETs", len(w.segments), store.lists, store.objects, store.gets)
			if store.lists > tt.lists || store.gets > 3 || store.objects > 2*MaxAhead+50 {
				t.Errorf("%d LISTs of %d objects, %d GETs", store.lists, store.objects, store.gets)
			}
		})
	}
}

// TestFrontierFailsWithItsStore: an error of the store is an error, never "nothing is there".
func TestFrontierFailsWithItsStore(t *testing.T) {
	faulty := storagetest.NewFaulty(storagetest.NewMemory())
	w := newWorld(newCatalog(t, faulty), one)
	w.begin = w.name(1).Start()
	ctx := context.Background()
	must(t, w.c.Begin(ctx, one, w.begin, time.Now()))
	for n := segment.Number(1); n < 400; n++ {
		w.store(t, n)
	}
	w.link(t, 400, 1000, true)
	w.link(t, 400, 1000, false)
	w.gap(t, GapLost, w.name(900).Start(), w.name(901).Start())
	for _, op := range []string{storage.OpList, storage.OpGet} {
		before := faulty.Calls(op)
		w.check(t)
		calls := faulty.Calls(op) - before
		for k := range calls {
			faulty.Fail(storagetest.Fault{Op: op, Call: faulty.Calls(op) + k})
			if end, _, err := w.c.Frontier(ctx, one); !errors.Is(err, storagetest.ErrInjected) {
				t.Errorf("%s %d of %d failed: Frontier %s, %v", op, k, calls, end, err)
			}
			faulty.Heal()
		}
	}
}

// TestBeginIsASegmentBoundary: anything else, and zero, is refused.
func TestBeginIsASegmentBoundary(t *testing.T) {
	c := newCatalog(t, storagetest.NewMemory())
	ctx := context.Background()
	for _, lsn := range []segment.LSN{0, 1, 0x100028} {
		if err := c.Begin(ctx, one, lsn, time.Now()); err == nil {
			t.Errorf("WAL may begin at %s", lsn)
		}
	}
	for range 2 {
		if err := c.Begin(ctx, one, 0x100000, time.Now()); err != nil {
			t.Error(err)
		}
	}
	if _, ok, err := c.Frontier(ctx, segment.Lineage{Timeline: 1}); !ok || err != nil {
		t.Errorf("begun, and nothing stored: %v, %v", ok, err)
	}
}
