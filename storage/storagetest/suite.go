// Package storagetest holds what tests of stores, and tests on stores, share: the conformance suite that
// every storage.Store passes, a store in memory, a store with faults, and a real S3 server.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walkeep/storage"
)

// Run tests that what open returns is a storage.Store as its interface promises. Each call of open must
// return an empty store.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, storage.Store)
	}{
		{"Sizes", testSizes},
		{"CreateOnly", testCreateOnly},
		{"CreateOnlyConcurrent", testCreateOnlyConcurrent},
		{"WholeOrAbsent", testWholeOrAbsent},
		{"GetAppends", testGetAppends},
		{"NotFound", testNotFound},
		{"Keys", testKeys},
		{"ListOrder", testListOrder},
		{"ManyKeys", testManyKeys},
		{"ListEarlyEnd", testListEarlyEnd},
		{"Delete", testDelete},
		{"DeleteBesidePut", testDeleteBesidePut},
		{"Cancelled", testCancelled},
		{"PutLeavesData", testPutLeavesData},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(b) // never fails
	return b
}

func put(t *testing.T, s storage.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, data); err != nil {
		t.Fatalf("Put(%s, %d bytes): %v", key, len(data), err)
	}
}

func mustHold(t *testing.T, s storage.Store, key string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), key, nil)
	if err != nil {
		t.Fatalf("Get(%s): %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get(%s): %d bytes that differ from the %d put", key, len(got), len(want))
	}
}

func mustNotHold(t *testing.T, s storage.Store, key string) {
	t.Helper()
	if _, err := s.Get(t.Context(), key, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("Get(%s): %v, want ErrNotFound", key, err)
	}
}

func listKeys(t *testing.T, s storage.Store, prefix, after string) []string {
	t.Helper()
	keys := []string{}
	for o, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List(%q, %q): %v", prefix, after, err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func testSizes(t *testing.T, s storage.Store) {
	for _, size := range []int{0, 1, 511, 64 << 10, 1<<20 + 7, 5 << 20} {
		key := fmt.Sprintf("size/%d", size)
		data := random(size)
		put(t, s, key, data)
		mustHold(t, s, key, data)
		for o, err := range s.List(t.Context(), key, "") {
			if err != nil || o.Key != key || o.Size != int64(size) || o.Modified.IsZero() {
				t.Errorf("List(%s): %+v, %v; want size %d", key, o, err, size)
			}
			break
		}
	}
}

func testCreateOnly(t *testing.T, s storage.Store) {
	first := []byte("first")
	put(t, s, "wal/a", first)
	for _, again := range [][]byte{first, []byte("other"), nil} {
		if err := s.Put(t.Context(), "wal/a", again); !errors.Is(err, storage.ErrExists) {
			t.Errorf("Put of a taken key with %q: %v, want ErrExists", again, err)
		}
	}
	mustHold(t, s, "wal/a", first)
}

// testCreateOnlyConcurrent lets many writers, each with data of its own, go for one key.
func testCreateOnlyConcurrent(t *testing.T, s storage.Store) {
	const writers = 20
	for round := range 5 {
		key := fmt.Sprintf("race/%d/key", round)
		errs := make([]error, writers)
		var start, done sync.WaitGroup
		start.Add(1)
		for w := range writers {
			done.Go(func() {
				start.Wait()
				errs[w] = s.Put(t.Context(), key, bytes.Repeat([]byte{byte(w)}, 10_000))
			})
		}
		start.Done()
		done.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = w
			case err == nil:
				t.Fatalf("writers %d and %d both created %s", winner, w, key)
			case !errors.Is(err, storage.ErrExists):
				t.Fatalf("writer %d: %v", w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody created %s", key)
		}
		mustHold(t, s, key, bytes.Repeat([]byte{byte(winner)}, 10_000))
	}
}

// testWholeOrAbsent reads a key over and over while it is put.
func testWholeOrAbsent(t *testing.T, s storage.Store) {
	data := random(3 << 20)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				got, err := s.Get(t.Context(), "whole/key", nil)
				if err == nil && !bytes.Equal(got, data) {
					t.Errorf("Get beside Put: %d of %d bytes", len(got), len(data))
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("Get beside Put: %v", err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	put(t, s, "whole/key", data)
	mustHold(t, s, "whole/key", data)
	close(stop)
	wg.Wait()
}

func testGetAppends(t *testing.T, s storage.Store) {
	data := random(100_000)
	put(t, s, "a", data)
	for _, free := range []int{0, 10, 200_000} {
		dst := append(make([]byte, 0, 4+free), "head"...)
		got, err := s.Get(t.Context(), "a", dst)
		if err != nil || !bytes.Equal(got, append([]byte("head"), data...)) {
			t.Errorf("Get with %d bytes free: %d bytes, %v", free, len(got), err)
		}
		got, err = s.Get(t.Context(), "b", dst)
		if !errors.Is(err, storage.ErrNotFound) || string(got) != "head" {
			t.Errorf("Get of a missing key returns %q, %v; want dst and ErrNotFound", got, err)
		}
	}
}

func testNotFound(t *testing.T, s storage.Store) {
	mustNotHold(t, s, "a")
	mustNotHold(t, s, "a/b/c")
	put(t, s, "a/b/c", []byte("x"))
	for _, key := range []string{"a", "a/b", "a/b/c/d", "a/b/d", "a/b/c2"} {
		mustNotHold(t, s, key)
	}
	if keys := listKeys(t, s, "b", ""); len(keys) > 0 {
		t.Errorf("List of nothing: %v", keys)
	}
}

func testKeys(t *testing.T, s storage.Store) {
	longest := strings.Repeat("0123456789abcde/", storage.MaxKey/16)[:storage.MaxKey-1] + "z"
	for _, key := range []string{
		"abcdefghijklmnopqrstuvwxyz/ABCDEFGHIJKLMNOPQRSTUVWXYZ/0123456789._-",
		".a", "a.", "..a/...", "-", "_/-/_", "a..b", longest,
	} {
		put(t, s, key, []byte(key))
		mustHold(t, s, key, []byte(key))
		if err := s.Put(t.Context(), key, nil); !errors.Is(err, storage.ErrExists) {
			t.Errorf("Put(%s) again: %v", key, err)
		}
		if got := listKeys(t, s, key, ""); !slices.Contains(got, key) {
			t.Errorf("List(%s) = %v", key, got)
		}
	}
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a b", "a\x00", "ä", "a\\b", "a%2Fb", "a+b",
		storage.TempFolder + "/a", longest + "y",
	} {
		if err := s.Put(t.Context(), key, nil); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Put(%q): %v, want ErrInvalid", key, err)
		}
		if _, err := s.Get(t.Context(), key, nil); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Get(%q): %v, want ErrInvalid", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Delete(%q): %v, want ErrInvalid", key, err)
		}
	}
}

func testDelete(t *testing.T, s storage.Store) {
	put(t, s, "d/a/1", []byte("x"))
	put(t, s, "d/b", []byte("y"))
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("Delete of no keys: %v", err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), "d/a/1", "d/none", "none/at/all", "d/b/below"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	mustNotHold(t, s, "d/a/1")
	mustHold(t, s, "d/b", []byte("y"))
	put(t, s, "d/a/1", []byte("z"))
	mustHold(t, s, "d/a/1", []byte("z"))
	if err := s.Delete(t.Context(), "d/a"); err != nil {
		t.Errorf("Delete of what is no object but a beginning of one: %v", err)
	}
	mustHold(t, s, "d/a/1", []byte("z"))
}

// testDeleteBesidePut puts into folders that others are emptying. A store on top of folders may stumble over
// one, as long as it doesn't say that it stored what it didn't.
func testDeleteBesidePut(t *testing.T, s storage.Store) {
	s = storage.Retry(s, storage.RetryPolicy{MinDelay: time.Millisecond})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("x/y/z/%d-%d", w, i)
				if err := s.Put(t.Context(), key, []byte(key)); err != nil {
					t.Errorf("Put(%s): %v", key, err)
				}
				if got, err := s.Get(t.Context(), key, nil); err != nil || string(got) != key {
					t.Errorf("Get(%s) = %q, %v", key, got, err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Errorf("Delete(%s): %v", key, err)
				}
			}
		})
	}
	wg.Wait()
	if keys := listKeys(t, s, "", ""); len(keys) > 0 {
		t.Errorf("left: %v", keys)
	}
}

func testCancelled(t *testing.T, s storage.Store) {
	put(t, s, "c/a", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "c/b", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v, want context.Canceled", err)
	}
	if got, err := s.Get(ctx, "c/a", []byte("dst")); !errors.Is(err, context.Canceled) || string(got) != "dst" {
		t.Errorf("Get: %q, %v, want context.Canceled", got, err)
	}
	if err := s.Delete(ctx, "c/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete: %v, want context.Canceled", err)
	}
	var last error
	for _, err := range s.List(ctx, "", "") {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("List: %v, want context.Canceled", last)
	}
	mustHold(t, s, "c/a", []byte("x"))
	mustNotHold(t, s, "c/b")
}

// testPutLeavesData overwrites data as soon as Put has returned: what is stored must not change, and nothing
// may still be reading (the race detector sees to that), even if Put was cut off in its middle.
func testPutLeavesData(t *testing.T, s storage.Store) {
	data := random(4 << 20)
	want := bytes.Clone(data)
	put(t, s, "p/whole", data)
	clear(data)
	mustHold(t, s, "p/whole", want)
	for i := range 10 {
		copy(data, want)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for range i * 200 {
				_ = ctx.Err() // some time, without sleeping
			}
			cancel()
		})
		key := fmt.Sprintf("p/cut-%d", i)
		err := s.Put(ctx, key, data)
		clear(data)
		wg.Wait()
		got, getErr := s.Get(t.Context(), key, nil)
		switch {
		case getErr == nil && !bytes.Equal(got, want):
			t.Errorf("an object of %d bytes that is not what was put", len(got))
		case getErr != nil && !errors.Is(getErr, storage.ErrNotFound):
			t.Errorf("Get: %v", getErr)
		case err == nil && getErr != nil:
			t.Errorf("Put said yes, Get says %v", getErr)
		}
	}
}
