package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"walkeep/storage"
)

// Delete removes the files, then the folders that they leave empty. That is no matter of durability: what
// comes back after a crash is deleted again.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	failed := map[string]error{}
	for _, key := range keys {
		if err := s.remove(ctx, key); err != nil {
			failed[key] = classify(err)
		}
	}
	if len(failed) > 0 {
		return &storage.DeleteError{Failed: failed}
	}
	return nil
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.ops.remove(s.path(key))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		if err := s.checkRoot(); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	s.prune(path.Dir(key))
	return nil
}

// prune removes empty folders upwards. A Put that meets a folder going away makes it again; forgetting comes
// first, so that it also syncs it again.
func (s *Store) prune(folder string) {
	for ; folder != "." && s.isEmpty(folder); folder = path.Dir(folder) {
		s.forget(folder)
		if err := s.ops.rmdir(s.path(folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// isEmpty reports whether there is nothing in the folder, or no folder.
func (s *Store) isEmpty(folder string) bool {
	d, err := os.Open(s.path(folder))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
