package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"walkeep/integration/walkeep"
	"walkeep/storage"
)

// Fetch is walkeep fetch as a Source, as restore_command would run it. env has what the binary needs to reach the
// repository.
func Fetch(t testing.TB, repo string, env ...string) Source {
	dir := t.TempDir()
	return func(_ context.Context, name string) ([]byte, error) {
		path := filepath.Join(dir, name)
		defer func() { _ = os.Remove(path) }()
		r := walkeep.Call{Args: []string{"fetch", "--repo", repo, name, path}, Env: env, Dir: dir}.Run(t)
		switch r.Exit {
		case 0:
			return os.ReadFile(path)
		case 1:
			return nil, fmt.Errorf("%w: %s", ErrMissing, r.Stderr)
		}
		return nil, fmt.Errorf("walkeep fetch: exit code %d: %s", r.Exit, r.Stderr)
	}
}

// Stored reads a repository without walkeep's code: keys as docs/FORMAT.md spells them, contents through the stock
// lz4 program. A name that several lineages hold is an error, unless all hold the same bytes.
func Stored(store storage.Store, systemID string) Source {
	return func(ctx context.Context, name string) ([]byte, error) {
		keys, err := keysOf(ctx, store, systemID, name)
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			return nil, ErrMissing
		}
		var content []byte
		for i, key := range keys {
			got, err := read(ctx, store, key)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if i > 0 && !bytes.Equal(got, content) {
				return nil, fmt.Errorf("two lineages disagree: %s", strings.Join(keys, ", "))
			}
			content = got
		}
		return content, nil
	}
}

// keysOf finds the objects that hold a file, one for each lineage with its timeline that has it.
func keysOf(ctx context.Context, store storage.Store, systemID, name string) ([]string, error) {
	prefix, suffix := systemID+"/wal/"+name[:8]+"-", "/"+name
	if strings.HasSuffix(name, ".history") {
		prefix, suffix = systemID+"/timeline/"+name[:8]+"-", ".history"
	} else if lineages, err := folders(ctx, store, prefix); err != nil || len(lineages) == 1 {
		// The common case, without a listing of the whole lineage for each segment.
		if err != nil {
			return nil, err
		}
		return []string{lineages[0] + name[8:16] + suffix}, nil
	}
	var keys []string
	for object, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if strings.HasSuffix(object.Key, suffix) {
			keys = append(keys, object.Key)
		}
	}
	return keys, nil
}

// folders returns the lineages' folders below prefix, asking once for each.
func folders(ctx context.Context, store storage.Store, prefix string) ([]string, error) {
	var found []string
	for after := ""; ; {
		next := ""
		for object, err := range store.List(ctx, prefix, after) {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", prefix, err)
			}
			lineage, _, _ := strings.Cut(object.Key[len(prefix):], "/")
			next = prefix + lineage + "/"
			break
		}
		if next == "" {
			return found, nil
		}
		found = append(found, next)
		after = next + "~" // behind every key of the folder
	}
}

func read(ctx context.Context, store storage.Store, key string) ([]byte, error) {
	object, err := store.Get(ctx, key, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, ErrMissing
	}
	if err != nil || strings.HasSuffix(key, ".history") {
		return object, err
	}
	cmd := exec.CommandContext(ctx, "lz4", "-d", "-c")
	cmd.Stdin = bytes.NewReader(object)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	content, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("lz4 -d: %w: %s", err, stderr.Bytes())
	}
	return content, nil
}
