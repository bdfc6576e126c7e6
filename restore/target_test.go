package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"walkeep/restore"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "RECOVERYXLOG")
	for _, content := range [][]byte{[]byte("first"), bytes.Repeat([]byte("x"), 1<<20), {}} {
		if err := restore.WriteFile(path, content); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, want %d; %v", len(got), len(content), err)
		}
	}
	only(t, dir, "RECOVERYXLOG")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; PostgreSQL's files are its own", info.Mode(), err)
	}
}

// only checks the names in a directory.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("in %s: %q, want %q", dir, got, want)
	}
}

// A file system that is full: a file may not grow beyond the limit of the process. The target stays what it was.
func TestWriteFileWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "RECOVERYXLOG")
	write(t, dir, "RECOVERYXLOG", "as it was")
	if err := limited(t, 100_000, func() error { return restore.WriteFile(path, make([]byte, 1<<20)) }); err == nil {
		t.Error("no error")
	} else if !strings.Contains(err.Error(), path) {
		t.Errorf("%v doesn't name the target", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "as it was" {
		t.Errorf("target is %q, %v", got, err)
	}
	only(t, dir, "RECOVERYXLOG")
}

// limited runs do with a limit to the size of files.
func limited(t *testing.T, size uint64, do func() error) error {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}()
	return do()
}

func TestWriteFileWhereItCant(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "directory", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing", "RECOVERYXLOG"), filepath.Join(dir, "directory")} {
		if err := restore.WriteFile(path, []byte("x")); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("write %s: %v", path, err)
		}
	}
	only(t, dir, "directory")
}

// What a fetch left that was killed goes with a later one; what one may be writing now stays.
func TestLeftoversGo(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, ".walkeep-fetch-123", "killed")
	write(t, dir, ".walkeep-fetch-456", "at work")
	write(t, dir, "000000010000000000000002", "somebody's")
	old := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{".walkeep-fetch-123", "000000010000000000000002"} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := restore.WriteFile(filepath.Join(dir, "RECOVERYXLOG"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	only(t, dir, ".walkeep-fetch-456", "000000010000000000000002", "RECOVERYXLOG")
}
