package catalog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// chain puts links of the segment's bytes with the ends given, and roll-ups [from, to).
func chain(t rapid.TB, c *Catalog, n segment.Name, raw []byte, ends []int, rollups ...[2]int) {
	t.Helper()
	put := func(from, to int, put func(context.Context, segment.Name, segment.Statement, []byte) error) {
		s := segment.NewStatement(testSystem, one, n.Start()+segment.LSN(from), raw[from:to])
		object, err := segment.NewEncoder().Encode(nil, s, raw[from:to])
		must(t, err)
		must(t, put(context.Background(), n, s, object))
	}
	from := 0
	for _, to := range ends {
		put(from, to, c.PutLink)
		from = to
	}
	for _, r := range rollups {
		put(r[0], r[1], c.PutRollup)
	}
}

// TestTailOfAnyChain: however the bytes came, in links of any size with roll-ups of any depth, the tail is composed from them,
// and compared with other bytes it tells of the difference.
func TestTailOfAnyChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx, store := context.Background(), &countingStore{Store: storagetest.NewMemory()}
		c, _, err := Create(ctx, store, testSystem, segment.MinSize, time.Now())
		must(t, err)
		n, raw := oneN(3), rawSegment(9)
		var (
			ends    []int
			rollups [][2]int
			stack   = []int{0} // where roll-ups end
		)
		for range rapid.IntRange(0, 40).Draw(t, "links") {
			end := rapid.SampledFrom([]int{1, 7, 1000, 60_000}).Draw(t, "bytes")
			if len(ends) > 0 {
				end += ends[len(ends)-1]
			}
			if end > len(raw) {
				break
			}
			ends = append(ends, end)
			if rapid.IntRange(0, 3).Draw(t, "roll up") == 0 {
				keep := rapid.IntRange(1, len(stack)).Draw(t, "levels")
				stack = append(stack[:keep:keep], end)
				rollups = append(rollups, [2]int{stack[keep-1], end})
			}
		}
		chain(t, c, n, raw, ends, rollups...)
		want := 0
		if len(ends) > 0 {
			want = ends[len(ends)-1]
		}
		if end, err := c.TailEnd(ctx, one, n); err != nil || end != want {
			t.Fatalf("TailEnd = %d, %v, want %d", end, err, want)
		}
		store.gets, store.lists = 0, 0
		got, err := c.Tail(ctx, one, n, []byte("x"))
		if err != nil || !bytes.Equal(got, append([]byte("x"), raw[:want]...)) {
			t.Fatalf("Tail = %d bytes, %v, want %d", len(got)-1, err, want)
		}
		behind := 0
		for _, end := range ends {
			if end > stack[len(stack)-1] {
				behind++
			}
		}
		if store.lists != 2 || store.gets != len(stack)-1+behind {
			t.Fatalf("%d LISTs and %d GETs for %d roll-ups and %d links behind them", store.lists, store.gets, len(stack)-1, behind)
		}
		if end, err := c.CompareTail(ctx, one, n, raw[:rapid.IntRange(want, len(raw)).Draw(t, "ours")]); err != nil || end != want {
			t.Fatalf("CompareTail = %d, %v, want %d", end, err, want)
		}
		if want == 0 {
			return
		}
		other := bytes.Clone(raw)
		at := rapid.IntRange(0, want-1).Draw(t, "other byte")
		other[at] ^= 1
		var fork *ForkError
		if _, err := c.CompareTail(ctx, one, n, other); !errors.As(err, &fork) {
			t.Fatalf("with another byte at %d: %v", at, err)
		}
		lsn := n.Start() + segment.LSN(at)
		if fork.Stored.From > lsn || fork.Stored.To <= lsn || fork.Ours.From != fork.Stored.From || fork.Ours.Hash == fork.Stored.Hash {
			t.Fatalf("with another byte at %s: %v", lsn, fork)
		}
	})
}

// TestForkIsFoundAtItsFirstLink: of several links that differ the first one is named.
func TestForkIsFoundAtItsFirstLink(t *testing.T) {
	c := newCatalog(t, storagetest.NewMemory())
	n, raw := oneN(3), rawSegment(1)
	chain(t, c, n, raw, []int{100, 200, 300, 400})
	other := bytes.Clone(raw)
	for i := 250; i < 500; i++ {
		other[i] ^= 1
	}
	_, err := c.CompareTail(context.Background(), one, n, other)
	var fork *ForkError
	if !errors.As(err, &fork) || fork.Key != c.keys.link(one, n, 200) || !strings.Contains(err.Error(), fork.Key) {
		t.Errorf("%v", err)
	}
}

// TestBrokenTails: a piece that others lead to and that is gone makes the tail broken, never shorter; one that is damaged or of
// something else makes it damaged.
func TestBrokenTails(t *testing.T) {
	ctx := context.Background()
	n, raw := oneN(3), rawSegment(1)
	rollups := [][2]int{{0, 300}, {300, 500}}
	ends := []int{100, 200, 300, 400, 500, 600, 700}
	for name, tt := range map[string]struct {
		spoil   func(store *storagetest.Memory, c *Catalog)
		broken  bool
		damaged bool
	}{
		"whole":                     {func(*storagetest.Memory, *Catalog) {}, false, false},
		"link gone behind roll-ups": {func(s *storagetest.Memory, c *Catalog) { must(t, s.Delete(ctx, c.keys.link(one, n, 500))) }, true, false},
		"link gone before roll-up":  {func(s *storagetest.Memory, c *Catalog) { must(t, s.Delete(ctx, c.keys.link(one, n, 100))) }, false, false},
		"roll-up gone":              {func(s *storagetest.Memory, c *Catalog) { must(t, s.Delete(ctx, c.keys.rollup(one, n, 300))) }, true, false},
		"link damaged":              {func(s *storagetest.Memory, c *Catalog) { s.Corrupt(c.keys.link(one, n, 500), flip(20)) }, false, true},
		"roll-up damaged":           {func(s *storagetest.Memory, c *Catalog) { s.Corrupt(c.keys.rollup(one, n, 300), flip(20)) }, false, true},
		"link of another segment": {func(s *storagetest.Memory, c *Catalog) {
			other := segment.Statement{SystemID: testSystem, Lineage: one, From: oneN(4).Start(), To: oneN(4).Start() + 10}
			s.Corrupt(c.keys.link(one, n, 500), func([]byte) []byte { return other.Append(nil) })
		}, false, true},
		"link that begins elsewhere": {func(s *storagetest.Memory, c *Catalog) {
			other := segment.Statement{SystemID: testSystem, Lineage: one, From: n.Start() + 501, To: n.Start() + 600}
			s.Corrupt(c.keys.link(one, n, 500), func([]byte) []byte { return other.Append(nil) })
		}, false, true},
		"roll-up that ends elsewhere": {func(s *storagetest.Memory, c *Catalog) {
			other := segment.Statement{SystemID: testSystem, Lineage: one, From: n.Start(), To: n.Start() + 299}
			s.Corrupt(c.keys.rollup(one, n, 300), func([]byte) []byte { return other.Append(nil) })
		}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			store := storagetest.NewMemory()
			c := newCatalog(t, store)
			chain(t, c, n, raw, ends, rollups...)
			tt.spoil(store, c)
			got, err := c.Tail(ctx, one, n, nil)
			_, compared := c.CompareTail(ctx, one, n, raw)
			for what, err := range map[string]error{"Tail": err, "CompareTail": compared} {
				if IsBrokenTail(err) != tt.broken || IsDamaged(err) != tt.damaged || (err == nil) != (!tt.broken && !tt.damaged) {
					t.Errorf("%s = %v", what, err)
				}
			}
			if err != nil && len(got) != 0 {
				t.Errorf("%d bytes with an error", len(got))
			}
		})
	}
}

// TestTailOfPayloadDamaged: a bit in what a link holds is found when it is composed.
func TestTailOfPayloadDamaged(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	n, raw := oneN(3), rawSegment(1)
	chain(t, c, n, raw, []int{5000, 9000})
	key := c.keys.link(one, n, 5000)
	store.Corrupt(key, flip(segment.StatementSize+25))
	if got, err := c.Tail(ctx, one, n, nil); !IsDamaged(err) || !strings.Contains(err.Error(), key) || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(p []byte) []byte { p[at] ^= 1; return p }
}

// TestTailEndIsNeverTooFar: what can't be read, or hangs in the air, doesn't count.
func TestTailEndIsNeverTooFar(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	n, raw := oneN(3), rawSegment(1)
	expect := func(what string, want int) {
		t.Helper()
		if end, err := c.TailEnd(ctx, one, n); err != nil || end != want {
			t.Errorf("%s: TailEnd = %d, %v, want %d", what, end, err, want)
		}
	}
	expect("no tail", 0)
	chain(t, c, n, raw, []int{100, 200, 300})
	expect("three links", 300)
	store.Corrupt(c.keys.link(one, n, 200), flip(20))
	expect("the last one can't be read", 200)
	must(t, store.Delete(ctx, c.keys.link(one, n, 0)))
	expect("without the first", 0)
	chain(t, c, n, raw, nil, [2]int{0, 150})
	expect("roll-up that ends within a link", 150)
}

func TestLinksAreCreateOnly(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	n, raw := oneN(3), rawSegment(1)
	chain(t, c, n, raw, []int{100}, [2]int{0, 100})
	before, _ := store.Get(ctx, c.keys.link(one, n, 0), nil)
	s, object := encode(t, one, n.Start(), raw[:50])
	if err := c.PutLink(ctx, n, s, object); !errors.Is(err, storage.ErrExists) {
		t.Errorf("PutLink = %v", err)
	}
	if stored, err := c.Link(ctx, n, s); err != nil || stored.Len() != 100 {
		t.Errorf("Link = %s, %v", stored, err)
	}
	s, object = encode(t, one, n.Start(), raw[1:101])
	if err := c.PutRollup(ctx, n, s, object); !errors.Is(err, storage.ErrExists) {
		t.Errorf("PutRollup = %v", err)
	}
	if after, _ := store.Get(ctx, c.keys.link(one, n, 0), nil); !bytes.Equal(before, after) {
		t.Error("the link has changed")
	}
}

// TestDropTail: from the end, so that an interrupted deletion leaves a shorter tail and never a broken one; nothing else is
// touched.
func TestDropTail(t *testing.T) {
	ctx := context.Background()
	n, raw := oneN(3), rawSegment(1)
	for k := 0; ; k++ {
		store := &stoppingStore{Memory: storagetest.NewMemory(), left: k}
		c := newCatalog(t, store)
		chain(t, c, n, raw, []int{100, 200, 300, 400}, [2]int{0, 200}, [2]int{200, 300})
		chain(t, c, oneN(4), raw, []int{100})
		err := c.DropTail(ctx, one, n)
		got, tailErr := c.Tail(ctx, one, n, nil)
		if tailErr != nil || !bytes.Equal(got, raw[:len(got)]) {
			t.Errorf("after %d deletions: %d bytes, %v", k, len(got), tailErr)
		}
		if end, err := c.TailEnd(ctx, one, oneN(4)); err != nil || end != 100 {
			t.Errorf("the next tail: %d, %v", end, err)
		}
		if err == nil {
			if len(got) != 0 || k < 6 {
				t.Errorf("%d bytes left after %d deletions", len(got), k)
			}
			break
		}
	}
}

// A stoppingStore deletes so many objects and then fails.
type stoppingStore struct {
	*storagetest.Memory
	left int
}

func (s *stoppingStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if s.left == 0 {
			return storagetest.ErrInjected
		}
		s.left--
		if err := s.Memory.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
