package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"syscall"

	"walkeep/storage"
)

// List walks the folders that can hold an answer, one folder in memory at a time on each level.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		w := &walk{store: s, prefix: prefix, after: after, yield: yield}
		err := storage.ValidatePrefix(prefix)
		if err == nil {
			err = s.checkRoot()
		}
		if err == nil {
			folder := path.Dir(prefix + "x")
			if folder == "." {
				folder = ""
			}
			err = w.folder(ctx, folder)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, fmt.Errorf("list %s: %w", prefix, classify(err)))
		}
	}
}

// errStopped ends a walk whose consumer has seen enough.
var errStopped = errors.New("stopped")

type walk struct {
	store         *Store
	prefix, after string
	yield         func(storage.Object, error) bool
}

// folder yields what is below folder ("" = the root). A folder that is not there holds nothing.
func (w *walk) folder(ctx context.Context, folder string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.store.ops.read(w.store.path(folder))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return w.store.checkRoot()
	}
	if err != nil {
		return err
	}
	for _, e := range w.relevant(folder, entries) {
		if e.IsDir() {
			err = w.folder(ctx, strings.TrimSuffix(e.key, "/"))
		} else {
			err = w.file(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// An entry is a file, or a folder whose key ends in a slash.
type entry struct {
	fs.DirEntry
	key string
}

// relevant returns the entries that are or may hold an answer. Sorted with their slash, folders stand among
// the files exactly where the keys below them belong: "a-b" before "a/b" before "a0".
func (w *walk) relevant(folder string, entries []fs.DirEntry) []entry {
	var found []entry
	for _, d := range entries {
		e := entry{DirEntry: d, key: path.Join(folder, d.Name())}
		switch {
		case storage.ValidateKey(e.key) != nil:
			continue
		case d.IsDir():
			e.key += "/"
			below := strings.HasPrefix(e.key, w.prefix) || strings.HasPrefix(w.prefix, e.key)
			if !below || e.key <= w.after && !strings.HasPrefix(w.after, e.key) {
				continue
			}
		case !d.Type().IsRegular(), !strings.HasPrefix(e.key, w.prefix), e.key <= w.after:
			continue
		}
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return found
}

func (w *walk) file(ctx context.Context, e entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fi, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since
	}
	if err != nil {
		return err
	}
	if !w.yield(storage.Object{Key: e.key, Size: fi.Size(), Modified: fi.ModTime()}, nil) {
		return errStopped
	}
	return nil
}
