package restore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile puts content under path, which PostgreSQL then reads: into a temporary file in the same directory, renamed over
// path. After any error path is what it was before. It is not flushed to disk: PostgreSQL does that when it takes the file
// over (access/transam/xlogarchive.c: KeepFileRestoredFromArchive).
func WriteFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	// The name must not look like WAL to the server, should it be left behind.
	temp, err := os.CreateTemp(dir, ".walkeep-fetch-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp.Name()))
		}
	}()
	if err := writeAndClose(temp, content); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

func writeAndClose(f *os.File, content []byte) error {
	n, err := f.Write(content)
	if err == nil && n < len(content) {
		err = io.ErrShortWrite
	}
	return errors.Join(err, f.Close())
}
