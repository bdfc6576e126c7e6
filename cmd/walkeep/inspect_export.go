package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"walkeep/restore"
	"walkeep/segment"
)

// partialSuffix marks a segment of which only the beginning is archived, as pg_receivewal does.
const partialSuffix = ".partial"

// exportSegments writes the segments of a range, and the history of its timeline, as the files that PostgreSQL knows.
func exportSegments(ctx context.Context, env *environment, o inspectOptions, line *walLine) error {
	if err := os.MkdirAll(o.out, 0o700); err != nil {
		return err
	}
	files := []string{}
	write := func(name string, content []byte) error {
		if err := exportFile(filepath.Join(o.out, name), content); err != nil {
			return err
		}
		files = append(files, name)
		if o.json {
			return nil
		}
		p := reporter{w: env.stdout}
		p.say("%s\n", name)
		return p.err
	}
	if t := line.branch.Lineage.Timeline; t != 1 {
		if err := write(t.HistoryName(), line.history.Content); err != nil {
			return err
		}
	}
	for part, err := range line.segments(ctx) {
		if err != nil {
			return err
		}
		name, content := part.name.String(), part.content
		if missing := int(line.size) - len(content); missing > 0 {
			name += partialSuffix
			content = append(content, make([]byte, missing)...)
		}
		if err := write(name, content); err != nil {
			return err
		}
	}
	if !o.json {
		return nil
	}
	return env.printJSON(struct {
		Lineage segment.Lineage `json:"lineage"`
		Files   []string        `json:"files"`
	}{line.branch.Lineage, files})
}

// exportFile writes a file that is not there yet. One that is there with the same content is fine.
func exportFile(path string, content []byte) error {
	there, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return restore.WriteFile(path, content)
	case err != nil:
		return err
	case !bytes.Equal(there, content):
		return fmt.Errorf("%s exists and holds something else: it is left alone", path)
	}
	return nil
}
