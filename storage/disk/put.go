package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"walkeep/storage"
)

// maxFolderRaces bounds how often in a row a Put creates a folder that Delete takes away as empty.
const maxFolderRaces = 100

// Put writes the object to an unfinished file, syncs it, links it to its key and syncs the folder: two
// fsyncs, and one more for each part of the key this process hasn't written below before.
//
// After an fsync of data failed the kernel may call the lost pages clean, so the file is given up at once,
// and another Put begins with another file. A folder's fsync may be tried again: names are journaled, and a
// file system that can't write its journal takes no more names.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := s.put(ctx, key, data); err != nil {
		return fmt.Errorf("put %s: %w", key, classify(err))
	}
	return nil
}

func (s *Store) put(ctx context.Context, key string, data []byte) error {
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	if len(data) > storage.MaxObject {
		return fmt.Errorf("%w: object of %d bytes", storage.ErrInvalid, len(data))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(s.path(key)); err == nil {
		return s.taken(key)
	}
	temp := s.newTemp()
	if err := s.writeTemp(temp, data); err != nil {
		_ = s.ops.remove(temp)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.Join(s.checkRoot(), err)
		}
		return err
	}
	err := s.publish(ctx, temp, key)
	// The object doesn't need its first name any more; a name left behind is swept some day.
	_ = s.ops.remove(temp)
	return err
}

func (s *Store) writeTemp(temp string, data []byte) error {
	f, err := s.ops.create(temp)
	if err != nil {
		return err
	}
	if _, err := s.ops.write(f, data); err != nil {
		_ = f.Close()
		return err
	}
	if err := s.ops.sync(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// publish gives the finished file the name of its key.
func (s *Store) publish(ctx context.Context, temp, key string) error {
	folder := path.Dir(key)
	for range maxFolderRaces {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.ensureFolder(folder)
		if err == nil {
			err = s.ops.link(temp, s.path(key))
		}
		switch {
		case err == nil:
			return s.syncName(folder)
		case errors.Is(err, fs.ErrExist):
			return s.taken(key)
		case noHardLinks(err):
			return fmt.Errorf("%w: create-only objects need hard links, and the file system of %s has none (%w): "+
				"use another file system or an object store", storage.ErrInvalid, s.root, err)
		case errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%w: %w", storage.ErrInvalid, err)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		// A Delete took the folder away as empty, or the whole store is gone.
		if err := s.checkRoot(); err != nil {
			return err
		}
		s.forget(folder)
	}
	return fmt.Errorf("folder %s disappears again and again", folder)
}

// syncName brings the names in a folder, and the folder's own, to stable storage.
func (s *Store) syncName(folder string) error {
	if err := syncDir(s.ops, s.path(folder)); err != nil {
		return err
	}
	// Usually known already; not if a Delete meanwhile took the folder away and another Put brought it back.
	return s.ensureFolder(folder)
}

// taken is the answer to a Put of a key that has a name. Whoever gave it the name may not have brought it to
// stable storage yet, and our caller will rely on the object: so that is done first.
func (s *Store) taken(key string) error {
	fi, err := os.Lstat(s.path(key))
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a file", storage.ErrInvalid, filepath.Join(s.root, key))
	}
	if err := s.syncName(path.Dir(key)); err != nil {
		return err
	}
	return storage.ErrExists
}

// ensureFolder returns when the folder and all above it exist on stable storage.
func (s *Store) ensureFolder(folder string) error {
	if folder == "." || s.isDurable(folder) {
		return nil
	}
	parent := path.Dir(folder)
	if err := s.ensureFolder(parent); err != nil {
		return err
	}
	if err := s.ops.mkdir(s.path(folder)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Also if it was there: its maker may not have come to this yet.
	if err := syncDir(s.ops, s.path(parent)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable[folder] = true
	return nil
}

func (s *Store) isDurable(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable[folder]
}

// forget makes the next Put below folder look at it and all above it again.
func (s *Store) forget(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; folder != "."; folder = path.Dir(folder) {
		delete(s.durable, folder)
	}
}
