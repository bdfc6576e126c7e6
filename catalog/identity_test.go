package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// An ignorantStore has no conditional writes, and doesn't say so.
type ignorantStore struct{ *storagetest.Memory }

func (s ignorantStore) Put(ctx context.Context, key string, data []byte) error {
	return s.Overwrite(ctx, key, data)
}

func TestCreateAndOpen(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	if _, err := Open(ctx, store, testSystem); !errors.Is(err, ErrNoCluster) {
		t.Errorf("empty repository: %v", err)
	}
	if _, err := OpenOnly(ctx, store); !errors.Is(err, ErrNoCluster) {
		t.Errorf("empty repository: %v", err)
	}
	now := time.Date(2026, 11, 24, 9, 0, 0, 12345, time.FixedZone("x", 3600))
	c, created, err := Create(ctx, store, testSystem, 16<<20, now)
	if err != nil || !created || c.SystemID() != testSystem || c.SegmentSize() != 16<<20 || c.Store() != storage.Store(store) {
		t.Fatalf("Create = %+v, %v, %v", c, created, err)
	}
	data, err := store.Get(ctx, "cluster/7301234567890123456.json", nil)
	want := `{"format":1,"system_id":"7301234567890123456","wal_segment_size":16777216,"created":"2026-11-24T08:00:00Z"}`
	if err != nil || string(data) != want {
		t.Errorf("identity %s, %v, want %s", data, err, want)
	}
	if _, created, err = Create(ctx, store, testSystem, 16<<20, now.Add(time.Hour)); err != nil || created {
		t.Errorf("the second time: created %v, %v", created, err)
	}
	if again, _ := store.Get(ctx, "cluster/7301234567890123456.json", nil); !slices.Equal(again, data) {
		t.Errorf("the identity has changed: %s", again)
	}
	for what, open := range map[string]func() (*Catalog, error){
		"Open":     func() (*Catalog, error) { return Open(ctx, store, testSystem) },
		"OpenOnly": func() (*Catalog, error) { return OpenOnly(ctx, store) },
	} {
		if c, err := open(); err != nil || c.SystemID() != testSystem || c.SegmentSize() != 16<<20 {
			t.Errorf("%s = %+v, %v", what, c, err)
		}
	}
	if _, _, err := Create(ctx, store, 42, 1<<20, now); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOnly(ctx, store); err == nil || !strings.Contains(err.Error(), "42 7301234567890123456") {
		t.Errorf("two clusters: %v", err)
	}
	if all, err := Clusters(ctx, store); err != nil || len(all) != 2 {
		t.Errorf("Clusters = %v, %v", all, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	ctx, now := context.Background(), time.Now()
	t.Run("another segment size", func(t *testing.T) {
		store := storagetest.NewMemory()
		newCatalog(t, store)
		_, _, err := Create(ctx, store, testSystem, 64<<20, now)
		var size *SegmentSizeError
		if !errors.As(err, &size) || size.Archive != segment.MinSize || size.Server != 64<<20 {
			t.Errorf("%v", err)
		}
	})
	t.Run("no conditional writes", func(t *testing.T) {
		if _, _, err := Create(ctx, ignorantStore{storagetest.NewMemory()}, testSystem, segment.MinSize, now); !errors.Is(err, storage.ErrNoConditionalWrites) {
			t.Errorf("%v", err)
		}
	})
	t.Run("store out of reach", func(t *testing.T) {
		for k := range 4 {
			faulty := storagetest.NewFaulty(storagetest.NewMemory())
			faulty.Fail(storagetest.Fault{Op: storagetest.OpAny, Call: k})
			_, _, err := Create(ctx, faulty, testSystem, segment.MinSize, now)
			if failed := faulty.Calls(storagetest.OpAny) > k; failed != errors.Is(err, storagetest.ErrInjected) {
				t.Errorf("call %d fails: %v", k, err)
			}
			faulty.Heal()
			if _, _, err := Create(ctx, faulty, testSystem, segment.MinSize, now); err != nil {
				t.Errorf("after call %d failed: %v", k, err)
			}
		}
	})
	t.Run("answer lost", func(t *testing.T) {
		faulty := storagetest.NewFaulty(storagetest.NewMemory())
		faulty.Fail(storagetest.Fault{Op: storage.OpPut, LostAnswer: true})
		store := storage.Retry(faulty, storage.RetryPolicy{MinDelay: time.Microsecond})
		if _, _, err := Create(ctx, store, testSystem, segment.MinSize, now); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// TestIdentityIsChecked: one that is damaged, or of a later format, is an error and never "no cluster".
func TestIdentityIsChecked(t *testing.T) {
	ctx := context.Background()
	for name, content := range map[string]string{
		"nothing":              ``,
		"not JSON":             `{"format":1`,
		"later format":         `{"format":2,"system_id":"7301234567890123456","wal_segment_size":16777216}`,
		"another cluster":      `{"format":1,"system_id":"42","wal_segment_size":16777216}`,
		"no segment size":      `{"format":1,"system_id":"7301234567890123456"}`,
		"strange segment size": `{"format":1,"system_id":"7301234567890123456","wal_segment_size":16777217}`,
	} {
		store := storagetest.NewMemory()
		if err := store.Put(ctx, "cluster/7301234567890123456.json", []byte(content)); err != nil {
			t.Fatal(err)
		}
		_, open := Open(ctx, store, testSystem)
		_, only := OpenOnly(ctx, store)
		_, _, create := Create(ctx, store, testSystem, 16<<20, time.Now())
		for what, err := range map[string]error{"Open": open, "OpenOnly": only, "Create": create} {
			if err == nil || errors.Is(err, ErrNoCluster) {
				t.Errorf("%s: %s = %v", name, what, err)
			}
		}
	}
}

func TestHistories(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	two, content := second(t)
	other := []byte("1\t0/600028\tno recovery target specified\n")
	for range 2 {
		if l, err := c.PutHistory(ctx, 2, content); err != nil || l != two {
			t.Errorf("PutHistory = %s, %v", l, err)
		}
	}
	rival, err := c.PutHistory(ctx, 2, other)
	if err != nil || rival == two {
		t.Errorf("PutHistory = %s, %v", rival, err)
	}
	if h, err := c.History(ctx, two); err != nil || string(h.Content) != string(content) {
		t.Errorf("History = %s, %v", h.Content, err)
	}
	if h, err := c.History(ctx, one); err != nil || len(h.Content) != 0 {
		t.Errorf("History of timeline 1 = %s, %v", h.Content, err)
	}
	if _, err := c.History(ctx, segment.Lineage{Timeline: 3}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("History of a lineage that isn't there: %v", err)
	}
	for timeline, want := range map[segment.Timeline]int{1: 1, 2: 2, 3: 0} {
		if all, err := c.Lineages(ctx, timeline); err != nil || len(all) != want {
			t.Errorf("Lineages(%d) = %v, %v", timeline, all, err)
		}
	}
	if all, err := c.AllLineages(ctx); err != nil || len(all) != 3 || all[0] != one {
		t.Errorf("AllLineages = %v, %v", all, err)
	}
	for _, bad := range []string{"", "nonsense", "2\t0/1\tx\n1\t0/2\ty\n"} {
		if l, err := c.PutHistory(ctx, 3, []byte(bad)); err == nil {
			t.Errorf("PutHistory(%q) = %s", bad, l)
		}
	}
	store.Corrupt(c.keys.history(two), func(p []byte) []byte { return append(p, '\n') })
	if _, err := c.History(ctx, two); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("a history that was changed: %v", err)
	}
}

func TestGaps(t *testing.T) {
	ctx, store := context.Background(), storagetest.NewMemory()
	c := newCatalog(t, store)
	two, _ := second(t)
	gaps := []Gap{
		{Lineage: one, From: 0x300000, To: 0x500000, Kind: GapLost, Reason: "gone", Detected: time.Unix(1e9, 0).UTC()},
		{Lineage: one, From: 0x700028, To: 0x800000, Kind: GapDamaged, Reason: "bad", Detected: time.Unix(1e9, 0).UTC()},
		{Lineage: two, From: 0x100000, To: 0x200000, Kind: GapAncestry, Reason: "?", Detected: time.Unix(1e9, 0).UTC()},
	}
	for _, i := range []int{2, 0, 1, 0} {
		if err := c.RecordGap(ctx, gaps[i]); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := c.Gaps(ctx); err != nil || !slices.Equal(all, gaps) {
		t.Errorf("Gaps = %v, %v", all, err)
	}
	if own, err := c.recordedGaps(ctx, one); err != nil || !slices.Equal(own, gaps[:2]) {
		t.Errorf("gaps of timeline 1 = %v, %v", own, err)
	}
	for _, bad := range []Gap{
		{Lineage: one, From: 5, To: 5, Kind: GapLost},
		{Lineage: one, From: 6, To: 5, Kind: GapLost},
		{Lineage: one, From: 5, To: 6},
		{Lineage: one, From: 5, To: 6, Kind: "other"},
	} {
		if err := c.RecordGap(ctx, bad); err == nil {
			t.Errorf("recorded %v", bad)
		}
	}
	same := gaps[1] // the same ends, another kind
	same.Kind = GapLost
	for range 2 {
		if err := c.RecordGap(ctx, same); err != nil {
			t.Fatal(err)
		}
	}
	if own, err := c.recordedGaps(ctx, one); err != nil || len(own) != 4 || passGaps(same.From, own) != same.To {
		t.Errorf("gaps of timeline 1 = %v, %v", own, err)
	}
	if text := gaps[0].String(); !strings.Contains(text, "0/300000") || !strings.Contains(text, "base backup") {
		t.Errorf("%s", text)
	}
	for what, change := range map[string]func(*Gap){
		"other ends": func(g *Gap) { g.To++ }, "unknown kind": func(g *Gap) { g.Kind = "x" }, "other lineage": func(g *Gap) { g.Lineage = two },
	} {
		g := gaps[0]
		change(&g)
		data, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		store.Corrupt(c.keys.gap(one, gaps[0].From, gaps[0].To), func([]byte) []byte { return data })
		if all, err := c.Gaps(ctx); err == nil {
			t.Errorf("%s: %v", what, all)
		}
	}
}
