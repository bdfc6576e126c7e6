package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"walkeep/catalog"
	"walkeep/segment"
)

// SystemID reads the system identifier from the data directory's control file (catalog/pg_control.h: ControlFileData
// begins with it). ok is false if there is no such file: dir is not a data directory.
func SystemID(dir string) (id uint64, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, "global", "pg_control"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	var head [8]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return 0, false, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return binary.LittleEndian.Uint64(head[:]), true, nil
}

// IsStandby reports whether the server in the data directory runs, or will start, as a standby.
func IsStandby(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "standby.signal"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Histories reads the timeline histories in the data directory's pg_wal. Recovery keeps there the history of the timeline
// that it follows (access/transam/timeline.c: readTimeLineHistory); a base backup brings those of its own timeline. None if
// dir is not a data directory.
func Histories(dir string) ([]catalog.History, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "pg_wal"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []catalog.History
	for _, e := range entries {
		t, err := segment.ParseHistoryName(e.Name())
		if err != nil || t == 1 {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, "pg_wal", e.Name()))
		if err != nil {
			return nil, err
		}
		l, err := segment.NewLineage(t, content)
		if err != nil {
			return nil, fmt.Errorf("pg_wal/%s: %w", e.Name(), err)
		}
		all = append(all, catalog.History{Lineage: l, Content: content})
	}
	return all, nil
}
