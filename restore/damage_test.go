package restore_test

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// S43 for fetch: whatever bit of whatever object that a fetch reads is flipped, the answer is the same or an error that
// names the object; never other bytes, never "absent".
func TestS43BitFlips(t *testing.T) {
	store := storagetest.NewMemory()
	a := newArchive(t, store)
	two := a.branch(2, "1\t0/400000\tno recovery target specified\n")
	a.put(first)
	a.link(first+1, 1000, 2000, 3000)
	a.rollup(first+1, 0, 2000)
	two.begin(4)
	two.put(4)
	two.link(5, 100)
	damaged := 0
	for _, file := range []string{"00000002.history", a.name(first).String(), a.name(first + 1).String(), two.name(4).String(), two.name(5).String()} {
		reads := &recorder{Store: store}
		want := fetchOpening(reads, file)
		if want.answer != "found" {
			t.Fatalf("fetch %s: %v", file, want.err)
		}
		for _, key := range reads.keys {
			damaged += flipEach(t, store, key, file, want.content)
		}
	}
	if damaged < 1000 {
		t.Errorf("only %d flips were noticed", damaged)
	}
}

// flipEach fetches file with each of some bits of an object flipped, and returns how many flips were noticed.
func flipEach(t *testing.T, store *storagetest.Memory, key, file string, want []byte) (noticed int) {
	t.Helper()
	var healthy []byte
	store.Corrupt(key, func(b []byte) []byte { healthy = bytes.Clone(b); return b })
	defer store.Corrupt(key, func([]byte) []byte { return healthy })
	bits := flips(len(healthy))
	for _, at := range bits {
		store.Corrupt(key, func([]byte) []byte {
			b := bytes.Clone(healthy)
			b[at/8] ^= 1 << (at % 8)
			return b
		})
		got := fetchOpening(store, file)
		switch {
		case got.answer == "unknown" && strings.Contains(got.err.Error(), key):
			noticed++
		case got.answer != "found" || !bytes.Equal(got.content, want):
			t.Errorf("bit %d of %s: fetch %s: %s, %v", at, key, file, got.answer, got.err)
		}
	}
	// The identity has a creation time that nobody compares, and LZ4 has more than one way to say the same.
	if noticed < len(bits)*9/10 && !strings.HasPrefix(key, "cluster/") {
		t.Errorf("%d of %d flipped bits of %s were noticed", noticed, len(bits), key)
	}
	return noticed
}

// flips are the bits to try of an object of n bytes: of its head, its end and between.
func flips(n int) []int {
	var bits []int
	for at := 0; at < 8*n; at++ {
		if at < 8*90 && at%5 == 0 || at >= 8*(n-10) && at%3 == 0 || at%(8*n/20+1) == 0 {
			bits = append(bits, at)
		}
	}
	return bits
}

// A truncated object, down to nothing, is damaged and not short.
func TestTruncatedObjects(t *testing.T) {
	store := storagetest.NewMemory()
	a := newArchive(t, store)
	a.put(first)
	a.link(first+1, 1000, 2000)
	for _, file := range []string{a.name(first).String(), a.name(first + 1).String()} {
		reads := &recorder{Store: store}
		fetchOpening(reads, file)
		for _, key := range reads.keys {
			var healthy []byte
			store.Corrupt(key, func(b []byte) []byte { healthy = bytes.Clone(b); return b })
			for n := range healthy {
				if n > 100 && n < len(healthy)-20 && n%97 != 0 {
					continue
				}
				store.Corrupt(key, func([]byte) []byte { return bytes.Clone(healthy[:n]) })
				if got := fetchOpening(store, file); got.answer != "unknown" || !strings.Contains(got.err.Error(), key) {
					t.Errorf("%s cut to %d bytes: fetch %s: %s, %v", key, n, file, got.answer, got.err)
				}
			}
			store.Corrupt(key, func([]byte) []byte { return healthy })
		}
	}
}

// An object that states other WAL than its key does not serve for it.
func TestObjectsInEachOthersPlace(t *testing.T) {
	store := storagetest.NewMemory()
	a := newArchive(t, store)
	a.put(first, first+1)
	a.link(first+2, 100, 300)
	a.link(first+3, 100, 300)
	two := a.branch(2, "1\t0/300000\tno recovery target specified\n")
	two.begin(3)
	two.put(3)
	objects := map[string][]byte{}
	for _, key := range store.Keys() {
		if strings.Contains(key, "/wal/") || strings.Contains(key, "/tail/") {
			store.Corrupt(key, func(b []byte) []byte { objects[key] = bytes.Clone(b); return b })
		}
	}
	for key := range objects {
		for other, object := range objects {
			if key == other {
				continue
			}
			store.Corrupt(key, func([]byte) []byte { return bytes.Clone(object) })
			for _, name := range []string{a.name(first).String(), a.name(first + 1).String(), a.name(first + 2).String(), two.name(3).String()} {
				if !strings.Contains(key, name) {
					continue
				}
				if got := fetchOpening(store, name); got.answer != "unknown" || !strings.Contains(got.err.Error(), key) {
					t.Errorf("%s in the place of %s: fetch %s: %s, %v", other, key, name, got.answer, got.err)
				}
			}
		}
		store.Corrupt(key, func([]byte) []byte { return objects[key] })
	}
}

// recorder notes which objects are read.
type recorder struct {
	storage.Store
	keys []string
}

func (r *recorder) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	got, err := r.Store.Get(ctx, key, dst)
	if err == nil && !slices.Contains(r.keys, key) {
		r.keys = append(r.keys, key)
	}
	return got, err
}

func (r *recorder) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return r.Store.List(ctx, prefix, after)
}

// fetchOpening is a fetch from its beginning: with the cluster's identity.
func fetchOpening(store storage.Store, file string) outcome {
	c, err := catalog.Open(context.Background(), store, testSystem)
	if err != nil {
		return outcome{answer: "unknown", err: err}
	}
	return fetch(c, restore.FetchOptions{Mode: restore.ModeRecovery}, file)
}
