package storagetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walkeep/storage"
)

// orderKeys sort differently by folder than as keys: '-' and '.' come before '/', digits and letters after.
var orderKeys = []string{
	"a-b/1", "a-b/2", "a.b/1", "a/-", "a/0/z", "a/a", "a0/1", "a0/1-", "b", "b-", "b.1/c/d", "b0", "b1/c/d",
	"b1/c/d-e", "b1/c/d.e", "b1/c/d0", "b1/c-/x", "b1/c./x", "b1/c0/x",
}

func testListOrder(t *testing.T, s storage.Store) {
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(orderKeys)) {
		put(t, s, orderKeys[i], []byte(orderKeys[i]))
	}
	sorted := slices.Sorted(slices.Values(orderKeys))
	bounds := append([]string{"", "A", "a", "a/", "a/0", "a/0/", "b1/", "b1/c", "b1/c/", "b1/c/d", "b2", "z"}, sorted...)
	for _, prefix := range bounds {
		for _, after := range bounds {
			want := []string{}
			for _, key := range sorted {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			if diff := cmp.Diff(want, listKeys(t, s, prefix, after)); diff != "" {
				t.Errorf("List(%q, %q): -want +got\n%s", prefix, after, diff)
			}
		}
	}
}

// testManyKeys lists and deletes more keys than a bucket takes in one page or one batch, in two folders.
func testManyKeys(t *testing.T, s storage.Store) {
	const n, first = 2100, 1100
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("many/%02d/%06d", i/first, i)
	}
	putAll(t, s, keys)
	for _, from := range []int{-1, 0, 998, 999, 1000, 1099, 1100, 2098, 2099} {
		after := ""
		if from >= 0 {
			after = keys[from]
		}
		if diff := cmp.Diff(keys[from+1:], listKeys(t, s, "many/", after)); diff != "" {
			t.Errorf("List after %q: -want +got\n%s", after, diff)
		}
	}
	if diff := cmp.Diff(keys[first:], listKeys(t, s, "many/01/", "")); diff != "" {
		t.Errorf("List of one folder: -want +got\n%s", diff)
	}
	if err := s.Delete(t.Context(), keys[:2050]...); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if diff := cmp.Diff(keys[2050:], listKeys(t, s, "", "")); diff != "" {
		t.Errorf("what is left: -want +got\n%s", diff)
	}
}

func putAll(t *testing.T, s storage.Store, keys []string) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan string)
	for range 8 {
		wg.Go(func() {
			for key := range next {
				if err := s.Put(t.Context(), key, []byte(key)); err != nil {
					t.Errorf("Put(%s): %v", key, err)
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	wg.Wait()
}

func testListEarlyEnd(t *testing.T, s storage.Store) {
	for i := range 10 {
		put(t, s, fmt.Sprintf("e/%d", i), nil)
	}
	seen := 0
	for _, err := range s.List(t.Context(), "e/", "e/2") {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d objects before breaking off, want 3", seen)
	}
}
