package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// files reads back all files of a backup.
func files(t testing.TB, c *catalog.Catalog, b catalog.Backup) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, f := range b.Files {
		var raw []byte
		for n := range f.Slices {
			var err error
			raw, err = c.Part(t.Context(), b, f.Name, n, raw)
			must(t, err)
		}
		if int64(len(raw)) != f.Size {
			t.Errorf("%s has %d bytes, want %d", f.Name, len(raw), f.Size)
		}
		all[f.Name] = raw
	}
	return all
}

// What is stored is what was sent, byte for byte, in slices; archives of servers before 15 get their end.
func TestStoredIsWhatWasSent(t *testing.T) {
	for version, end := range map[int][]byte{150000: nil, 140000: tarEnd[:]} {
		store, sent := newStore(), newCluster().stream(t)
		want := map[string][]byte{}
		for _, a := range sent.archives {
			want[a.Name] = slices.Clone(a.content)
			if strings.HasSuffix(a.Name, ".tar") {
				want[a.Name] = append(want[a.Name], end...)
			}
		}
		b, err := take(t, store, version, sent)
		must(t, err)
		if diff := cmp.Diff(want, files(t, newCatalog(t, store), b)); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
		if b.Checkpoint != 0x2000060 || b.DataFiles != 5 || b.Files[1].Slices != 5 || b.Stored() == 0 {
			t.Errorf("described as %+v", b)
		}
	}
}

// Each way in which a stream can be wrong is refused, and nothing becomes visible.
func TestWrongStreamsAreRefused(t *testing.T) {
	file := func(name string) member { return member{name: name, content: []byte("x")} }
	tests := map[string]struct {
		change func(*cluster)
		want   string
	}{
		"up":            {func(c *cluster) { c.base = append(c.base, file("base/../../etc/passwd")) }, "leads out"},
		"up at once":    {func(c *cluster) { c.space = append(c.space, file("../x")) }, "leads out"},
		"absolute":      {func(c *cluster) { c.base = append(c.base, file("/etc/passwd")) }, "leads out"},
		"doubled slash": {func(c *cluster) { c.base = append(c.base, file("base//x")) }, "leads out"},
		"symlink":       {func(c *cluster) { c.base = append(c.base, member{name: "link", kind: tar.TypeSymlink}) }, "neither file nor directory"},
		"hard link":     {func(c *cluster) { c.base = append(c.base, member{name: "link", kind: tar.TypeLink}) }, "neither file nor directory"},
		"device":        {func(c *cluster) { c.base = append(c.base, member{name: "null", kind: tar.TypeChar}) }, "neither file nor directory"},
		"twice":         {func(c *cluster) { c.base = append(c.base, c.base[3]) }, "twice"},
		"unlisted": {func(c *cluster) {
			c.listed = slices.Clone(c.base[:1])
		}, "does not list"},
		"not sent": {func(c *cluster) { c.listed = append(onlyFiles(c), file("base/1/2600")) }, "\"base/1/2600\" is in the server's manifest but was not sent"},
		"changed": {func(c *cluster) {
			c.listed = onlyFiles(c)
			c.listed[1].content = append([]byte("y"), c.listed[1].content[1:]...)
		}, "\"base/1/1259\" arrived damaged"},
		"shorter": {func(c *cluster) {
			c.listed = onlyFiles(c)
			c.listed[1].content = c.listed[1].content[1:]
		}, "\"base/1/1259\" arrived with 300000 bytes"},
		"listed twice": {func(c *cluster) { c.listed = append(onlyFiles(c), c.base[0]) }, "twice"},
		"no label":     {func(c *cluster) { c.base = c.base[1:] }, "no backup_label"},
		"other label":  {func(c *cluster) { c.base[0].content = []byte(strings.Replace(testLabel, "0/2000028", "0/3000028", 1)) }, "backup_label says at 0/3000028"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			test.change(c)
			refused(t, c.stream(t), test.want)
		})
	}
}

func onlyFiles(c *cluster) []member {
	files := slices.DeleteFunc(slices.Clone(c.base), func(m member) bool { return m.kind != 0 })
	for _, m := range c.space {
		files = append(files, member{name: "pg_tblspc/16391/" + m.name, content: m.content})
	}
	return files
}

func refused(t testing.TB, s stream, want string) {
	t.Helper()
	store := newStore()
	_, err := take(t, store, 150000, s)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	for _, key := range store.Keys() {
		if strings.Contains(key, "/backup/") {
			t.Errorf("%s is visible", key)
		}
	}
}

// Any bit that changes anywhere in what the server sent, but in the unused parts of tar headers, is found.
func TestAnyChangedBitOfContentIsFound(t *testing.T) {
	content := bytes.Repeat([]byte("All work and no play."), 500)
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster()
		c.base[3].content = content
		s := c.stream(t)
		sent := s.archives[1].content
		at := bytes.Index(sent, content) + rapid.IntRange(0, len(content)-1).Draw(rt, "offset")
		sent[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if _, err := take(t, newStore(), 150000, s); err == nil {
			rt.Fatal("not found")
		}
	})
}

func TestAnyChangedBitOfTheManifestIsFound(t *testing.T) {
	whole := newCluster().stream(t).archives[2].content
	last := bytes.LastIndex(whole, []byte("\"}"))
	rapid.Check(t, func(rt *rapid.T) {
		changed := slices.Clone(whole)
		changed[rapid.IntRange(0, last).Draw(rt, "offset")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		_, err := readManifest(bytes.NewReader(changed), func(string, int64, uint32) error { return nil })
		if err == nil {
			rt.Fatal("not found")
		}
	})
}

// Only a server that says the backup is complete has made one.
func TestEndWithoutCompletion(t *testing.T) {
	s := newCluster().stream(t)
	s.end = errors.New("connection lost")
	refused(t, s, "connection lost")
	s = newCluster().stream(t)
	s.archives[1].content = s.archives[1].content[:100_000]
	refused(t, s, "unexpected EOF")
}

// Every Put that fails ends the backup with the store's error, and no goroutine is left.
func TestEachFailingPut(t *testing.T) {
	for k := 0; ; k++ {
		store := newStore()
		faulty := storagetest.NewFaulty(store)
		newCatalog(t, faulty)
		first := faulty.Calls(storage.OpPut) + 1 // the identity is put once more
		faulty.Fail(storagetest.Fault{Op: storage.OpPut, Call: first + k})
		_, err := take(t, faulty, 150000, newCluster().stream(t))
		if err == nil {
			if k < 8 {
				t.Fatalf("call %d did not fail", k)
			}
			return
		}
		if !errors.Is(err, storagetest.ErrInjected) {
			t.Fatalf("call %d: %v", k, err)
		}
		for _, key := range store.Keys() {
			if strings.Contains(key, "/backup/") {
				t.Fatalf("call %d: %s is visible", k, key)
			}
		}
	}
}

// An answer that is lost makes the same part come again.
func TestLostAnswer(t *testing.T) {
	c := newCatalog(t, newStore())
	raw := []byte("content")
	part := segment.NewPart(42, testID, "base.tar", testSlice, raw)
	object, err := segment.NewEncoder().EncodePart(nil, part, raw)
	must(t, err)
	must(t, c.PutPart(t.Context(), part, testSlice, object))
	must(t, c.PutPart(t.Context(), part, testSlice, object))
	other := segment.NewPart(42, testID, "base.tar", testSlice, []byte("another"))
	object, err = segment.NewEncoder().EncodePart(nil, other, []byte("another"))
	must(t, err)
	if err := c.PutPart(t.Context(), other, testSlice, object); !errors.Is(err, storage.ErrExists) {
		t.Errorf("another part under the same key: %v", err)
	}
}

func TestDamagedPagesAreExplained(t *testing.T) {
	err := explainChecksums(fmt.Errorf("base backup: %w", &pgconn.PgError{Code: "XX001"}), []string{`file "base/5/1", block 3`})
	if !strings.Contains(err.Error(), `file "base/5/1", block 3`) || !strings.Contains(err.Error(), "older backup") {
		t.Error(err)
	}
}
