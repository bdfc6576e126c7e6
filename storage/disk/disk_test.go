package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walkeep/storage"
)

// What is empty because its file system isn't mounted must not be taken for an empty archive.
func TestNotMounted(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{root, filepath.Join(root, "none")} {
		if _, err := Open(dir); !errors.Is(err, storage.ErrNoBucket) || !storage.IsPermanent(err) {
			t.Errorf("Open(%s): %v", dir, err)
		}
	}
	s, err := Create(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	// The file system goes away under a running process.
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a/b", nil); errors.Is(err, storage.ErrNotFound) || !errors.Is(err, storage.ErrNoBucket) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Put(t.Context(), "a/b", nil); !errors.Is(err, storage.ErrNoBucket) {
		t.Errorf("Put: %v", err)
	}
	if err := s.Delete(t.Context(), "a/b"); !errors.Is(err, storage.ErrNoBucket) {
		t.Errorf("Delete: %v", err)
	}
	for _, prefix := range []string{"", "a/"} {
		var last error
		for _, err := range s.List(t.Context(), prefix, "") {
			last = err
		}
		if !errors.Is(last, storage.ErrNoBucket) {
			t.Errorf("List(%q): %v", prefix, last)
		}
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("written to the mount point: %v, %v", entries, err)
	}
}

func TestRelativeRoot(t *testing.T) {
	if _, err := Create("repo"); !errors.Is(err, storage.ErrInvalid) {
		t.Error(err)
	}
	if _, err := Open("repo"); !errors.Is(err, storage.ErrInvalid) {
		t.Error(err)
	}
}

func TestCreateSweepsStaleFiles(t *testing.T) {
	s := newStore(t)
	temp := filepath.Join(s.root, storage.TempFolder)
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": 61 * time.Minute, "young": 59 * time.Minute} {
		path := filepath.Join(temp, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(s.root); err != nil {
		t.Fatal(err)
	}
	if n := leftovers(t, s); n != 2 {
		t.Errorf("Open, which only reads, left %d files of 2", n)
	}
	if _, err := Create(s.root); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(temp)
	if err != nil || len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("left: %v, %v; want the young file", entries, err)
	}
}

// A Delete takes a folder away between Put's look at it and its link.
func TestFolderGoesAway(t *testing.T) {
	s := newStore(t)
	if err := s.Put(t.Context(), "a/b/1", nil); err != nil {
		t.Fatal(err)
	}
	times := 3
	steps := trace(s, func(_ int, step string) error {
		if step == "link" && times > 0 {
			times--
			_ = os.RemoveAll(s.path("a"))
		}
		return nil
	})
	if err := s.Put(t.Context(), "a/b/2", []byte("x")); err != nil {
		t.Fatal(err)
	}
	again := strings.Repeat(" link mkdir sync mkdir sync", 3)
	if diff := cmp.Diff("create write sync"+again+" link sync remove", strings.Join(*steps, " ")); diff != "" {
		t.Errorf("steps: -want +got\n%s", diff)
	}
	if got, err := s.Get(t.Context(), "a/b/2", nil); err != nil || string(got) != "x" {
		t.Errorf("Get: %q, %v", got, err)
	}
}

// The same by chance, without anybody trying again.
func TestDeleteBesidePut(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprintf("x/y/%d-%d", w, i)
				if err := errors.Join(s.Put(t.Context(), key, nil), s.Delete(t.Context(), key)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	wg.Wait()
	if entries, err := os.ReadDir(s.root); err != nil || len(entries) != 1 {
		t.Errorf("empty folders are left: %v, %v", entries, err)
	}
}

func TestKeyBelowAFile(t *testing.T) {
	s := newStore(t)
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b", nil); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("Put below a file: %v", err)
	}
	if err := s.Put(t.Context(), "f/g", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "f", nil); !errors.Is(err, storage.ErrInvalid) || errors.Is(err, storage.ErrExists) {
		t.Errorf("Put of a folder's name: %v", err)
	}
}

// What is not ours in the directory is passed over.
func TestListPassesOverForeignFiles(t *testing.T) {
	s := newStore(t)
	if err := s.Put(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lost+found/x", "a/c~", ".tmp/half"} {
		path := s.path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", s.path("etc")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("List: %v", got)
	}
}

func TestListReadsOnlyFoldersItNeeds(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"wal/a/0/x", "wal/a/1/x", "wal/a/2/x", "wal/b/0/x", "tail/a/0/x"} {
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	var read []string
	s.ops.read = func(path string) ([]os.DirEntry, error) {
		rel, err := filepath.Rel(s.root, path)
		if err != nil {
			t.Error(err)
		}
		read = append(read, rel)
		return os.ReadDir(path)
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"wal/a/", "", 9, []string{"wal/a", "wal/a/0", "wal/a/1", "wal/a/2"}},
		{"wal/a/1", "", 9, []string{"wal/a", "wal/a/1"}},
		{"wal/", "wal/a/1/x", 9, []string{"wal", "wal/a", "wal/a/1", "wal/a/2", "wal/b", "wal/b/0"}},
		{"wal/", "wal/a/2", 1, []string{"wal", "wal/a", "wal/a/2"}},
		{"", "wal/b/1", 9, []string{".", "wal", "wal/b"}},
		{"none/", "", 9, []string{"none"}},
	} {
		read = nil
		n := 0
		for _, err := range s.List(t.Context(), test.prefix, test.after) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == test.limit {
				break
			}
		}
		if diff := cmp.Diff(test.want, read); diff != "" {
			t.Errorf("List(%q, %q): folders read, -want +got\n%s", test.prefix, test.after, diff)
		}
	}
}

// A listing is the sorted set of keys that fit, whatever the keys.
func TestListProperty(t *testing.T) {
	key := rapid.StringMatching(`[-.0a]{1,2}(/[-.0a]{1,2}){0,2}`).
		Filter(func(s string) bool { return storage.ValidateKey(s) == nil })
	bound := rapid.StringMatching(`([-.0a]{1,2}(/[-.0a]{0,2}){0,2})?`).
		Filter(func(s string) bool { return storage.ValidatePrefix(s) == nil })
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		s, err := Create(filepath.Join(base, fmt.Sprint(runs)))
		if err != nil {
			r.Fatal(err)
		}
		s.ops.sync = func(*os.File) error { return nil }
		put := map[string]bool{}
		for _, k := range rapid.SliceOfN(key, 0, 12).Draw(r, "keys") {
			if err := s.Put(t.Context(), k, nil); err == nil {
				put[k] = true
			}
		}
		prefix, after := bound.Draw(r, "prefix"), bound.Draw(r, "after")
		var want, got []string
		for k := range put {
			if strings.HasPrefix(k, prefix) && k > after {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		for o, err := range s.List(t.Context(), prefix, after) {
			if err != nil {
				r.Fatal(err)
			}
			got = append(got, o.Key)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatalf("List(%q, %q): -want +got\n%s", prefix, after, diff)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{8 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := Create(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			b.SetBytes(int64(size))
			n := 0
			for b.Loop() {
				n++
				if err := s.Put(b.Context(), fmt.Sprintf("tail/a/%08d", n), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
