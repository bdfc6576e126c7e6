package restore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// tempPrefix begins the names of unfinished files. They must not look like WAL to the server, should one be left behind.
const tempPrefix = ".walkeep-fetch-"

// staleAfter is the age from which an unfinished file has surely no writer any more.
const staleAfter = time.Hour

// WriteFile puts content under path, which PostgreSQL then reads: into a temporary file in the same directory, renamed over
// path. After any error path is what it was before. It is not flushed to disk: PostgreSQL does that when it takes the file
// over (access/transam/xlogarchive.c: KeepFileRestoredFromArchive). Only the owner may read it.
func WriteFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	sweep(dir, time.Now().Add(-staleAfter))
	temp, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = writeAndClose(temp, content)
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

func writeAndClose(f *os.File, content []byte) error {
	n, err := f.Write(content)
	if err == nil && n < len(content) {
		err = io.ErrShortWrite
	}
	return errors.Join(err, f.Close())
}

// sweep removes what was left unfinished before the given time by a fetch that was killed. What can't be removed takes room
// and does no other harm.
func sweep(dir string, before time.Time) {
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	if err != nil {
		return // dir has a character that Glob takes for a pattern
	}
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && info.ModTime().Before(before) {
			_ = os.Remove(path)
		}
	}
}
