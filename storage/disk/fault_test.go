package disk

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walkeep/storage"
)

var noContext = context.Background()

// trace records the steps of ops and lets those fail that fail says.
func trace(s *Store, fail func(n int, step string) error) *[]string {
	steps := &[]string{}
	s.ops = beforeEach(s.ops, func(step string) error {
		*steps = append(*steps, step)
		if fail == nil {
			return nil
		}
		return fail(len(*steps)-1, step)
	})
	return steps
}

func leftovers(t *testing.T, s *Store) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.root, storage.TempFolder))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestPutSteps(t *testing.T) {
	s := newStore(t)
	steps := trace(s, nil)
	for _, test := range []struct{ key, want string }{
		{"a/b/1", "create write sync mkdir sync mkdir sync link sync remove"},
		{"a/b/2", "create write sync link sync remove"},
		{"a/c/1", "create write sync mkdir sync link sync remove"},
		{"1", "create write sync link sync remove"},
	} {
		*steps = nil
		if err := s.Put(t.Context(), test.key, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, strings.Join(*steps, " ")); diff != "" {
			t.Errorf("%s: -want +got\n%s", test.key, diff)
		}
	}
	if n := leftovers(t, s); n > 0 {
		t.Errorf("%d unfinished files left", n)
	}
}

// Another process has made the name and has not come to the fsync of the folder: whoever is told that the
// object exists relies on it.
func TestExistsIsDurableToo(t *testing.T) {
	s := newStore(t)
	if err := s.Put(t.Context(), "a/b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	other, err := Open(s.root)
	if err != nil {
		t.Fatal(err)
	}
	steps := trace(other, nil)
	if err := other.Put(t.Context(), "a/b", []byte("x")); !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
	if got := strings.Join(*steps, " "); got != "sync mkdir sync" {
		t.Errorf("steps before ErrExists: %q, want the fsync of a and of the root", got)
	}
	trace(other, func(_ int, step string) error {
		if step == "sync" {
			return syscall.EIO
		}
		return nil
	})
	if err := other.Put(t.Context(), "a/b", []byte("x")); errors.Is(err, storage.ErrExists) || !errors.Is(err, syscall.EIO) {
		t.Errorf("ErrExists of an object that could not be synced: %v", err)
	}
}

// Every step fails once, with each of the errors a disk has.
func TestS38EveryStepFails(t *testing.T) {
	data := bytes.Repeat([]byte("wal"), 1000)
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		for k := 0; ; k++ {
			s := newStore(t)
			failed := ""
			trace(s, func(n int, step string) error {
				if n == k {
					failed = step
					return errno
				}
				return nil
			})
			err := s.Put(t.Context(), "a/b", data)
			if failed == "" {
				break
			}
			if (err == nil) != (failed == "remove") || err != nil && !errors.Is(err, errno) {
				t.Errorf("step %d (%s): %v", k, failed, err)
			}
			if failed != "remove" && leftovers(t, s) > 0 {
				t.Errorf("step %d (%s): the unfinished file is left", k, failed)
			}
			got, getErr := s.Get(t.Context(), "a/b", nil)
			if getErr == nil && !bytes.Equal(got, data) || getErr != nil && !errors.Is(getErr, storage.ErrNotFound) {
				t.Errorf("step %d (%s): Get: %d bytes, %v", k, failed, len(got), getErr)
			}
			again := s.Put(t.Context(), "a/b", data)
			if (again == nil) != (getErr != nil) {
				t.Errorf("step %d (%s): Put again: %v", k, failed, again)
			}
		}
	}
}

// After a failed fsync nothing is done with that file but to remove it.
func TestS38FailedSyncIsFinal(t *testing.T) {
	s := newStore(t)
	steps := trace(s, func(n int, _ string) error {
		if n == 2 {
			return syscall.EIO
		}
		return nil
	})
	if err := s.Put(t.Context(), "a/b", []byte("x")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got := strings.Join(*steps, " "); got != "create write sync remove" {
		t.Errorf("steps: %s", got)
	}
}

// A disk that is really full: nothing half shows, the space comes back, and it goes on when there is room.
func TestS38NoSpace(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system of its own to fill (TestS38EveryStepFails injects the error): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Create(root)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte{1}, 600<<10)
	if err := s.Put(t.Context(), "a/1", big); err != nil {
		t.Fatal(err)
	}
	err = s.Put(t.Context(), "a/2", big)
	if !errors.Is(err, syscall.ENOSPC) || storage.IsPermanent(err) {
		t.Fatalf("Put on a full disk: %v", err)
	}
	if _, err := s.Get(t.Context(), "a/2", nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Put(t.Context(), "a/3", big[:300<<10]); err != nil {
		t.Errorf("the half file still takes its room: %v", err)
	}
	if err := s.Delete(t.Context(), "a/1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/2", big); err != nil {
		t.Errorf("Put when there is room again: %v", err)
	}
}

func TestNoHardLinks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.EXDEV} {
		s := newStore(t)
		trace(s, func(_ int, step string) error {
			if step == "link" {
				return &os.LinkError{Op: "link", Err: errno}
			}
			return nil
		})
		err := s.Put(t.Context(), "a/b", nil)
		if !errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), "hard links") {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestDenied(t *testing.T) {
	s := newStore(t)
	trace(s, func(int, string) error { return syscall.EACCES })
	if err := s.Put(t.Context(), "a/b", nil); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("Put: %v", err)
	}
	if err := s.Delete(t.Context(), "a/b"); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("Delete: %v", err)
	}
}
