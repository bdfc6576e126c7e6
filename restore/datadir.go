package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
