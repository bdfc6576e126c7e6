package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"walkeep/storage"
)

// fileOps are the steps of a call, as functions so that tests can count them and let each of them fail.
type fileOps struct {
	create func(path string) (*os.File, error) // exclusively, for writing
	write  func(f *os.File, data []byte) (int, error)
	sync   func(f *os.File) error
	link   func(oldPath, newPath string) error
	mkdir  func(path string) error
	remove func(path string) error // a file
	rmdir  func(path string) error // an empty folder
	read   func(path string) ([]os.DirEntry, error)
}

func osOps() fileOps {
	return fileOps{
		create: func(path string) (*os.File, error) {
			return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		},
		write:  (*os.File).Write,
		sync:   (*os.File).Sync,
		link:   os.Link,
		mkdir:  func(path string) error { return os.Mkdir(path, dirMode) },
		remove: unlink,
		rmdir:  func(path string) error { return pathError("rmdir", path, syscall.Rmdir(path)) },
		read:   os.ReadDir,
	}
}

// unlink removes a file and never a folder, which os.Remove would.
func unlink(path string) error {
	return pathError("unlink", path, syscall.Unlink(path))
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// syncDir brings the names in a folder to stable storage.
func syncDir(ops fileOps, path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return ops.sync(d)
}

// readAll appends the file's size bytes to dst.
func readAll(f *os.File, size int64, dst []byte) ([]byte, error) {
	if size > storage.MaxObject {
		return nil, fmt.Errorf("%w: object of %d bytes (%d is the most)", storage.ErrInvalid, size, int64(storage.MaxObject))
	}
	n := len(dst)
	dst = slices.Grow(dst, int(size))[:n+int(size)]
	if _, err := io.ReadFull(f, dst[n:]); err != nil {
		return nil, fmt.Errorf("read %d bytes: %w", size, err)
	}
	return dst, nil
}

// noHardLinks reports whether err says that the file system can't link, rather than that it failed to.
func noHardLinks(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) ||
		errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EMLINK)
}
