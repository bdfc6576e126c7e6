// Package oracle compares what walkeep keeps with what PostgreSQL's own archive_command stored.
//
// Its invariant: equal means every byte of every file. Files it can't judge it names, and a comparison of nothing
// is an error.
package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"walkeep/segment"
)

// ErrMissing is what a Source says of a file it proves not to have.
var ErrMissing = errors.New("not in the archive")

// A Source gives the contents of an archived file, a segment or a history, by PostgreSQL's name for it.
type Source func(ctx context.Context, name string) ([]byte, error)

// A Range bounds a comparison. Segments outside of it are not asked for; histories always are.
type Range struct {
	From    string // first segment, by name; "" is the first of the directory
	Through string // last segment; "" is the last of the directory
}

// contains compares without the timeline: what counts is the position.
func (r Range) contains(name string) bool {
	at := name[8:]
	return (r.From == "" || at >= r.From[8:]) && (r.Through == "" || at <= r.Through[8:])
}

// A Report says what was compared and what was not.
type Report struct {
	Equal   []string // files of the same bytes
	Skipped []string // outside of the range, or of a kind that is never streamed (.backup, .partial)
}

// Compare compares the files of dir, an archive_command's directory, with the source's. The error joins one line
// for each file that differs, with the first difference, or is missing.
func Compare(ctx context.Context, dir string, source Source, within Range) (Report, error) {
	var report Report
	entries, err := os.ReadDir(dir)
	if err != nil {
		return report, err
	}
	var problems []error
	for _, e := range entries {
		name := e.Name()
		if !judged(name, within) {
			report.Skipped = append(report.Skipped, name)
			continue
		}
		if err := compare(ctx, filepath.Join(dir, name), source); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			continue
		}
		report.Equal = append(report.Equal, name)
	}
	if len(report.Equal)+len(problems) == 0 {
		problems = append(problems, fmt.Errorf("nothing to compare in %s", dir))
	}
	return report, errors.Join(problems...)
}

func judged(name string, within Range) bool {
	if segment.IsWALFileName(name) {
		return within.contains(name)
	}
	return strings.HasSuffix(name, ".history")
}

func compare(ctx context.Context, path string, source Source) error {
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	got, err := source(ctx, filepath.Base(path))
	if err != nil {
		return err
	}
	return Diff(got, want)
}

// Diff is nil for equal bytes, else an error that shows the first difference.
func Diff(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	n := min(len(got), len(want))
	at := 0
	for at < n && got[at] == want[at] {
		at++
	}
	if at == n {
		return fmt.Errorf("%d bytes, want %d; equal up to there", len(got), len(want))
	}
	end := min(n, at+16)
	return fmt.Errorf("byte %#x (page %d) differs: % x, want % x; sizes %d and %d",
		at, at/8192, got[at:end], want[at:end], len(got), len(want))
}
