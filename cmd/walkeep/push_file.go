package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pierrec/lz4/v4"

	"walkeep/segment"
)

// A fileKind is what kind of file archive_command is called for (access/transam/xlogarchive.c).
type fileKind int

const (
	historyFile fileKind = iota
	segmentFile
	partialFile // the last segment of a timeline that has ended
	backupFile  // the label of a base backup
)

// maxHistory is far more than a history file ever has: one line for each timeline.
const maxHistory = 1 << 20

// A walFile is a file that PostgreSQL, or a program that archived for it, has written.
type walFile struct {
	path     string
	name     string // as PostgreSQL calls it, without the suffix of a compression
	kind     fileKind
	timeline segment.Timeline
	suffix   string // of the compression, "" if there is none
}

// A fileError says that a file can't be taken as it is.
type fileError struct{ message string }

func (e *fileError) Error() string { return e.message }

func fileErrorf(format string, args ...any) error { return &fileError{fmt.Sprintf(format, args...)} }

// parseWALFile tells from its base name what a file is; ok is false if it is none of PostgreSQL's.
func parseWALFile(path string) (f walFile, ok bool) {
	f = walFile{path: path, name: filepath.Base(path)}
	for _, suffix := range []string{".gz", ".lz4", ".zst", ".bz2", ".xz"} {
		if name, cut := strings.CutSuffix(f.name, suffix); cut {
			f.name, f.suffix = name, suffix
			break
		}
	}
	if t, err := segment.ParseHistoryName(f.name); err == nil {
		f.kind, f.timeline = historyFile, t
		return f, true
	}
	if len(f.name) < 24 || !segment.IsWALFileName(f.name[:24]) {
		return f, false
	}
	if _, err := fmt.Sscanf(f.name[:8], "%X", &f.timeline); err != nil {
		return f, false
	}
	switch rest := f.name[24:]; {
	case rest == "":
		f.kind = segmentFile
	case rest == ".partial":
		f.kind = partialFile
	case len(rest) == 16 && rest[0] == '.' && strings.HasSuffix(rest, ".backup"):
		f.kind = backupFile
	default:
		return f, false
	}
	return f, true
}

// unneeded says why no restore asks for the file, "" if one may.
func (f walFile) unneeded() string {
	switch f.kind {
	case partialFile:
		return "not needed: the first segment of the next timeline holds what is valid in it"
	case backupFile:
		return "not needed: recovery reads the label that is in the base backup itself"
	}
	return ""
}

// findWALFiles takes files by name, and from directories what is there, and sorts: histories first, then by name, so that
// segments come in the order of the WAL.
func findWALFiles(args []string) ([]walFile, error) {
	var all []walFile
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			entries, err := os.ReadDir(arg)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if f, ok := parseWALFile(filepath.Join(arg, e.Name())); ok && !e.IsDir() {
					all = append(all, f)
				}
			}
			continue
		}
		f, ok := parseWALFile(arg)
		if !ok {
			return nil, fmt.Errorf("%s is not named as PostgreSQL names WAL segments and timeline histories", arg)
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b walFile) int {
		return cmp.Or(cmp.Compare(min(a.kind, segmentFile), min(b.kind, segmentFile)), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

// read returns the content, decompressed. *fileError if it is longer than limit or can't be decompressed.
func (f walFile) read(limit int64) ([]byte, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fileErrorf("%s", err)
	}
	defer file.Close()
	r, err := f.decompress(file)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if f.kind == segmentFile && f.suffix == "" {
		content.Grow(int(limit) + bytes.MinRead)
	}
	n, err := content.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fileErrorf("%s is refused: read it: %s", f.path, err)
	}
	if n > limit {
		return nil, fileErrorf("%s is refused: it holds more than the %d bytes that such a file of this cluster can have", f.path, limit)
	}
	return content.Bytes(), nil
}

func (f walFile) decompress(file io.Reader) (io.Reader, error) {
	switch f.suffix {
	case "":
		return file, nil
	case ".gz":
		r, err := gzip.NewReader(bufio.NewReaderSize(file, 64<<10))
		if err != nil {
			return nil, fileErrorf("%s is refused: read it: %s", f.path, err)
		}
		return r, nil
	case ".lz4":
		return lz4.NewReader(file), nil
	}
	return nil, fileErrorf("%s is refused: walkeep does not read %s files: decompress it first", f.path, f.suffix)
}

// checkHistory refuses a history that was cut off, or that is another timeline's.
func checkHistory(t segment.Timeline, content []byte) error {
	if t == 1 {
		return fileErrorf("%s is refused: timeline 1 has no history", t.HistoryName())
	}
	if !bytes.HasSuffix(content, []byte("\n")) {
		return fileErrorf("%s is refused: it is cut off, its last line has no end", t.HistoryName())
	}
	forks, err := segment.ParseHistory(content)
	if err != nil {
		return fileErrorf("%s is refused: %s", t.HistoryName(), err)
	}
	if len(forks) == 0 || forks[len(forks)-1].Timeline >= t {
		return fileErrorf("%s is refused: it does not tell from which timeline it forked", t.HistoryName())
	}
	return nil
}
