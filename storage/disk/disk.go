// Package disk keeps objects as files below one directory.
//
// Its invariant: the name of a key appears only after the whole file is on stable storage, in one step that
// fails if the name is taken (link(2)); and Put returns only after the name itself is on stable storage.
package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"walkeep/storage"
)

// Modes of what the store creates, before umask: WAL holds every row, others have no business with it.
const (
	dirMode  = 0o750
	fileMode = 0o640
)

// staleAfter is the age from which an unfinished file has surely no writer any more.
const staleAfter = time.Hour

// A Store is a directory. Several processes may use it at once.
type Store struct {
	root string
	ops  fileOps

	mu sync.Mutex
	// durable holds the folders (root-relative, slash-separated) whose names, up to the root, this process
	// has seen on stable storage.
	durable map[string]bool
}

var _ storage.Store = (*Store)(nil)

// Open opens the store below root, an absolute path, for reading and writing. A directory that no Create has
// prepared is an error that wraps storage.ErrNoBucket: the mount point of a file system that isn't mounted
// is an empty directory, and must not be taken for an empty archive.
func Open(root string) (*Store, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("%w: %q is not an absolute path", storage.ErrInvalid, root)
	}
	s := &Store{root: filepath.Clean(root), ops: osOps(), durable: map[string]bool{}}
	if err := s.checkRoot(); err != nil {
		return nil, err
	}
	return s, nil
}

// Create opens the store below root, an absolute path; it first makes root a store if it isn't one, creating
// the directory where needed, and removes what writers killed long ago left unfinished.
func Create(root string) (*Store, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("%w: %q is not an absolute path", storage.ErrInvalid, root)
	}
	root = filepath.Clean(root)
	if _, err := os.Stat(filepath.Join(root, storage.TempFolder)); errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(root); err != nil {
			return nil, fmt.Errorf("create directory store: %w", classify(err))
		}
	}
	s, err := Open(root)
	if err != nil {
		return nil, err
	}
	s.sweep(time.Now().Add(-staleAfter))
	return s, nil
}

// makeRoot creates the store's folders on stable storage.
func makeRoot(root string) error {
	if err := os.MkdirAll(filepath.Join(root, storage.TempFolder), dirMode); err != nil {
		return err
	}
	for dir := root; ; dir = filepath.Dir(dir) {
		// What we may not open we haven't written to.
		if err := syncDir(osOps(), dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// checkRoot tells a store from a directory that happens to be where the store was.
func (s *Store) checkRoot() error {
	fi, err := os.Stat(filepath.Join(s.root, storage.TempFolder))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !fi.IsDir():
		return fmt.Errorf("%w at %s: is its file system mounted?", storage.ErrNoBucket, s.root)
	case err != nil:
		return classify(err)
	}
	return nil
}

// sweep removes unfinished files last written before the given time. What can't be removed stays: it takes
// room, and does no other harm.
func (s *Store) sweep(before time.Time) {
	dir := filepath.Join(s.root, storage.TempFolder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if fi, err := entry.Info(); err == nil && fi.Mode().IsRegular() && fi.ModTime().Before(before) {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}

func (s *Store) path(key string) string {
	return filepath.Join(s.root, filepath.FromSlash(key))
}

// newTemp is a name for an unfinished file that no other writer has.
func (s *Store) newTemp() string {
	return filepath.Join(s.root, storage.TempFolder, strings.ToLower(rand.Text()))
}

// Get reads the whole file.
func (s *Store) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	got, err := s.get(ctx, key, dst)
	if err != nil {
		return dst, fmt.Errorf("get %s: %w", key, err)
	}
	return got, nil
}

func (s *Store) get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if err := s.checkRoot(); err != nil {
			return nil, err
		}
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, classify(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, storage.ErrNotFound
	}
	return readAll(f, fi.Size(), dst)
}

// classify adds the storage sentinel to errors of the file system that have one.
func classify(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", storage.ErrDenied, err)
	}
	return err
}
