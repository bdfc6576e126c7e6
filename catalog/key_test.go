package catalog

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

const testSystem = 7301234567890123456

var (
	one  = segment.Lineage{Timeline: 1}
	oneN = func(n int) segment.Name {
		return segment.Name{Timeline: 1, Number: segment.Number(n), Size: segment.MinSize}
	}
)

// second is the lineage of a promotion from timeline 1 at 0/500028.
func second(t testing.TB) (segment.Lineage, []byte) {
	t.Helper()
	history := []byte("1\t0/500028\tno recovery target specified\n")
	l, err := segment.NewLineage(2, history)
	if err != nil {
		t.Fatal(err)
	}
	return l, history
}

// newCatalog returns the catalog of a cluster with segments of 1 MB.
func newCatalog(t testing.TB, store storage.Store) *Catalog {
	t.Helper()
	c, _, err := Create(context.Background(), store, testSystem, segment.MinSize, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestKeys: the spelling of every key that a receiver writes. docs/FORMAT.md promises it.
func TestKeys(t *testing.T) {
	l, _ := second(t)
	k := keys{testSystem}
	big := segment.Name{Timeline: 2, Number: 0x1234567, Size: 16 << 20}
	gap := Gap{Lineage: l, From: 0x1_0000_0028, To: 0xFFFF_FFFF_0000_0000}
	got := []string{
		identityKey(testSystem), identityKey(1<<64 - 1), ProbeKey("f00"),
		k.history(l), k.segment(one, oneN(1)), k.segment(l, big),
		k.link(l, big, 0), k.link(l, big, 0xABCDEF), k.rollup(l, big, 1<<30),
		k.gap(l, gap.From, gap.To), k.begin(one, 0x100000), k.abandoned(l), k.acknowledged(gap),
		k.under("backup"), k.segments(l), k.tail(l, big), k.gaps(l), k.begins(l),
	}
	want := []string{
		"cluster/7301234567890123456.json", "cluster/18446744073709551615.json", "probe/f00",
		"7301234567890123456/timeline/00000002-7c3ae98e.history",
		"7301234567890123456/wal/00000001-00000000/00000000/000000010000000000000001",
		"7301234567890123456/wal/00000002-7c3ae98e/00012345/000000020001234500000067",
		"7301234567890123456/tail/00000002-7c3ae98e/000000020001234500000067/00000000",
		"7301234567890123456/tail/00000002-7c3ae98e/000000020001234500000067/00abcdef",
		"7301234567890123456/tail/00000002-7c3ae98e/000000020001234500000067/upto-40000000",
		"7301234567890123456/gap/00000002-7c3ae98e/0000000100000028-ffffffff00000000.json",
		"7301234567890123456/note/00000001-00000000/begin-0000000000100000.json",
		"7301234567890123456/note/00000002-7c3ae98e/abandoned.json",
		"7301234567890123456/note/00000002-7c3ae98e/gap-0000000100000028-ffffffff00000000.json",
		"7301234567890123456/backup/", "7301234567890123456/wal/00000002-7c3ae98e/",
		"7301234567890123456/tail/00000002-7c3ae98e/000000020001234500000067/",
		"7301234567890123456/gap/00000002-7c3ae98e/", "7301234567890123456/note/00000002-7c3ae98e/begin-",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, key := range got {
		if err := storage.ValidateKey(strings.TrimSuffix(strings.TrimSuffix(key, "/"), "-")); err != nil {
			t.Error(err)
		}
	}
}

// TestKeysSortLikeWhatTheyName: segments of one lineage and links of one tail are listed in order of WAL, and roll-ups behind
// the links.
func TestKeysSortLikeWhatTheyName(t *testing.T) {
	k := keys{testSystem}
	var before string
	for _, n := range []int{1, 2, 15, 16, 0xFFE, 0xFFF, 0x1000, 0x1001, 0xFFFFFF, 0x1000000} {
		if key := k.segment(one, oneN(n)); key <= before {
			t.Errorf("%s is listed before %s", key, before)
		} else {
			before = key
		}
	}
	links := []string{k.link(one, oneN(1), 0), k.link(one, oneN(1), 9), k.link(one, oneN(1), 10), k.link(one, oneN(1), 0xFFFFF), k.rollup(one, oneN(1), 1), k.rollup(one, oneN(1), 0x100000)}
	for i := range links[1:] {
		if links[i] >= links[i+1] {
			t.Errorf("%s is listed before %s", links[i+1], links[i])
		}
	}
}

// TestStrangeObjects: what has no place under a prefix is an error, never passed over: it could be what an answer depends on.
func TestStrangeObjects(t *testing.T) {
	ctx := context.Background()
	root := "7301234567890123456/"
	frontier := func(c *Catalog) error { _, _, err := c.Frontier(ctx, one); return err }
	tail := func(c *Catalog) error { _, err := c.TailEnd(ctx, one, oneN(1)); return err }
	for key, ask := range map[string]func(*Catalog) error{
		root + "wal/00000001-00000000/00000000/00000001000000000000000G":         frontier,
		root + "wal/00000001-00000000/00000000/000000010000000000001000":         frontier, // beyond its log
		root + "wal/00000001-00000000/00000001/000000010000000000000003":         frontier, // in the wrong folder
		root + "wal/00000001-00000000/00000000/000000020000000000000003":         frontier,
		root + "wal/00000001-00000000/00000000/000000010000000000000003.partial": frontier,
		root + "wal/00000001-00000000/x":                                         frontier,
		root + "note/00000001-00000000/begin-100000.json":                        frontier,
		root + "note/00000001-00000000/begin-0000000000100000":                   frontier,
		root + "gap/00000001-00000000/notes.txt":                                 frontier,
		root + "tail/00000001-00000000/000000010000000000000001/0000000G":        tail,
		root + "tail/00000001-00000000/000000010000000000000001/0000000":         tail,
		root + "tail/00000001-00000000/000000010000000000000001/0000000A":        tail, // upper case
		root + "tail/00000001-00000000/000000010000000000000001/upto-1":          tail,
		root + "timeline/00000002.history":                                       func(c *Catalog) error { _, err := c.AllLineages(ctx); return err },
	} {
		store := storagetest.NewMemory()
		c := newCatalog(t, store)
		if err := c.Begin(ctx, one, oneN(1).Start(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		if err := store.Put(ctx, key, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if err := ask(c); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("with %s: %v", key, err)
		}
	}
}
