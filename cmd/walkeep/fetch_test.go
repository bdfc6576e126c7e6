package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage/disk"
)

const (
	fetchSystem = 7400000000000000001
	fetchSize   = segment.MinSize
)

// fetchRepo makes a directory repository of the clusters, each with segment 2, half of segment 3, and segments 7 and 8.
func fetchRepo(t *testing.T, systems ...uint64) (url, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repo")
	store, err := disk.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range systems {
		c, _, err := catalog.Create(t.Context(), store, id, fetchSize, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		l := segment.Lineage{Timeline: 1}
		if err := c.Begin(t.Context(), l, segment.LSN(2*fetchSize), time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, n := range []segment.Number{2, 3, 7, 8} {
			name := segment.Name{Timeline: 1, Number: n, Size: fetchSize}
			raw := fetchContent(id, n)
			if n == 3 {
				raw = raw[:fetchSize/2]
			}
			statement := segment.NewStatement(id, l, name.Start(), raw)
			object, err := segment.NewEncoder().Encode(nil, statement, raw)
			if err != nil {
				t.Fatal(err)
			}
			if n == 3 {
				err = c.PutLink(t.Context(), name, statement, object)
			} else {
				err = c.PutSegment(t.Context(), name, statement, object)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return "file://" + dir, dir
}

func fetchContent(systemID uint64, n segment.Number) []byte {
	return bytes.Repeat([]byte{byte(systemID), byte(n), 0xff, 1}, int(fetchSize)/4)
}

// dataDirectory makes a directory of a cluster that recovers, and goes there.
func dataDirectory(t *testing.T, systemID uint64, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	control := binary.LittleEndian.AppendUint64(nil, systemID)
	for name, content := range map[string]string{"global/pg_control": string(control), "pg_wal/archive_status/x": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range more {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

const (
	fetchSegment2 = "000000010000000000000002"
	fetchTarget   = "pg_wal/RECOVERYXLOG"
)

// wantFetch runs fetch and compares the exit code, what stderr says, and that the target is there only if it was found.
func wantFetch(t *testing.T, code exitCode, says string, args ...string) result {
	t.Helper()
	if err := os.RemoveAll(fetchTarget); err != nil {
		t.Fatal(err)
	}
	got := walkeep(t.Context(), nil, append([]string{"fetch", "--wait", "5s"}, args...)...)
	if got.code != code || !strings.Contains(got.stderr, says) {
		t.Errorf("fetch %s: exit %d, stderr %q; want %d, %q", args, got.code, got.stderr, code, says)
	}
	if got.stdout != "" {
		t.Errorf("fetch %s printed %q", args, got.stdout)
	}
	if _, err := os.Stat(fetchTarget); (err == nil) != (code == exitOK) {
		t.Errorf("fetch %s: exit %d, target: %v", args, code, err)
	}
	if left, _ := filepath.Glob("pg_wal/.walkeep*"); len(left) > 0 {
		t.Errorf("fetch %s left %s", args, left)
	}
	return got
}

func wantTarget(t *testing.T, want []byte) {
	t.Helper()
	got, err := os.ReadFile(fetchTarget)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("target has %d bytes, want %d: %v", len(got), len(want), err)
	}
}

func TestFetchAnswers(t *testing.T) {
	repo, _ := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	wantFetch(t, exitOK, "", "--repo", repo, fetchSegment2, fetchTarget)
	wantTarget(t, fetchContent(fetchSystem, 2))
	wantFetch(t, exitOK, "", "--repo", repo, "000000010000000000000003", fetchTarget)
	wantTarget(t, append(fetchContent(fetchSystem, 3)[:fetchSize/2:fetchSize/2], make([]byte, fetchSize/2)...))
	wantFetch(t, exitFailure, "is not in the archive", "--repo", repo, "000000010000000000000009", fetchTarget)
	wantFetch(t, exitFailure, "no history of timeline 2", "--repo", repo, "00000002.history", fetchTarget)
	wantFetch(t, exitFailure, "", "--repo", repo, fetchSegment2+".00000028.backup", fetchTarget)
	wantFetch(t, exitUnknown, "000000010000000000000004 is missing", "--repo", repo, "000000010000000000000004", fetchTarget)
}

// Mistakes of the person who wrote restore_command must not end a recovery.
func TestFetchMistakes(t *testing.T) {
	repo, dir := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	empty := t.TempDir()
	if _, err := disk.Create(filepath.Join(empty, "store")); err != nil {
		t.Fatal(err)
	}
	another, _ := fetchRepo(t, 1, 2)
	for _, c := range []struct{ says, args string }{
		{"is its file system mounted?", "--repo file://" + filepath.Join(dir, "elsewhere") + " " + fetchSegment2},
		{"is its file system mounted?", "--repo file://" + empty + " " + fetchSegment2},
		{"the repository holds no such cluster", "--repo file://" + filepath.Join(empty, "store") + " " + fetchSegment2},
		{"7400000000000000001: the repository holds no such cluster", "--repo " + another + " " + fetchSegment2},
		{"write file:///PATH", "--repo " + dir + " " + fetchSegment2},
		{"the data directory is of system 7400000000000000001, not 1", "--repo " + another + " --system-id 1 " + fetchSegment2},
		{"not a system identifier", "--repo " + repo + " --system-id x " + fetchSegment2},
		{"is not the name of a WAL file", "--repo " + repo + " ../" + fetchSegment2},
		{"is not the name of a WAL file", "--repo " + repo + " 00000001000000000000000a"},
		{"timeline 0 does not exist", "--repo " + repo + " 000000000000000000000002"},
		{"--repo (or WALKEEP_REPO) is required", fetchSegment2},
	} {
		wantFetch(t, exitUnknown, c.says, append(strings.Fields(c.args), fetchTarget)...)
	}
	// %p and %f exchanged.
	got := walkeep(t.Context(), nil, "fetch", "--repo", repo, fetchTarget, fetchSegment2)
	if got.code != exitUnknown || !strings.Contains(got.stderr, "in this order") {
		t.Errorf("exchanged arguments: exit %d, %q", got.code, got.stderr)
	}
}

// The data directory says which cluster is meant; without one, only a repository of one cluster is clear.
func TestFetchChoosesTheCluster(t *testing.T) {
	const other = fetchSystem + 1
	repo, _ := fetchRepo(t, fetchSystem, other)
	dataDirectory(t, other)
	wantFetch(t, exitOK, "", "--repo", repo, fetchSegment2, fetchTarget)
	wantTarget(t, fetchContent(other, 2))
	wantFetch(t, exitOK, "", "--repo", repo, "--system-id", "7400000000000000002", fetchSegment2, fetchTarget)
	if err := os.Remove("global/pg_control"); err != nil {
		t.Fatal(err)
	}
	wantFetch(t, exitUnknown, "7400000000000000001 7400000000000000002", "--repo", repo, fetchSegment2, fetchTarget)
	wantFetch(t, exitOK, "", "--repo", repo, "--system-id", "7400000000000000001", fetchSegment2, fetchTarget)
	wantTarget(t, fetchContent(fetchSystem, 2))
	alone, _ := fetchRepo(t, fetchSystem)
	wantFetch(t, exitOK, "", "--repo", alone, fetchSegment2, fetchTarget)
	if err := os.WriteFile("global/pg_control", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFetch(t, exitUnknown, "pg_control", "--repo", alone, fetchSegment2, fetchTarget)
}

// A standby asks again after 1, and would stop on 200.
func TestFetchOfAStandby(t *testing.T) {
	repo, dir := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem, "standby.signal")
	wantFetch(t, exitOK, "", "--repo", repo, fetchSegment2, fetchTarget)
	wantFetch(t, exitFailure, "is not in the archive", "--repo", repo, "000000010000000000000003", fetchTarget)
	wantFetch(t, exitFailure, "PostgreSQL will ask again", "--repo", repo, "000000010000000000000004", fetchTarget)
	wantFetch(t, exitFailure, "", "--repo", repo, "000000010000000000000009", fetchTarget)
	wantFetch(t, exitFailure, "PostgreSQL will ask again", "--repo", "file://"+filepath.Join(dir, "elsewhere"), fetchSegment2, fetchTarget)
}

// A restore that follows timeline 2 gets nothing that timeline 1 wrote behind the switch point.
func TestFetchKnowsWhatTheServerFollows(t *testing.T) {
	repo, _ := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	if err := os.WriteFile("pg_wal/00000002.history", []byte("1\t0/780000\tno recovery target specified\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFetch(t, exitOK, "", "--repo", repo, fetchSegment2, fetchTarget)
	wantFetch(t, exitUnknown, "pg_wal/00000002.history", "--repo", repo, "000000010000000000000007", fetchTarget)
	if err := os.WriteFile("pg_wal/00000003.history", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantFetch(t, exitUnknown, "pg_wal/00000003.history", "--repo", repo, fetchSegment2, fetchTarget)
}

// S43 for fetch: the message names the file and the object.
func TestS43FetchOfDamagedObject(t *testing.T) {
	repo, dir := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	for file, key := range map[string]string{
		fetchSegment2:              "7400000000000000001/wal/00000001-00000000/00000000/000000010000000000000002",
		"000000010000000000000003": "7400000000000000001/tail/00000001-00000000/000000010000000000000003/00000000",
	} {
		path := filepath.Join(dir, key)
		object, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{20, 70, len(object) / 2, len(object) - 1} {
			damaged := bytes.Clone(object)
			damaged[at] ^= 0x10
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			got := wantFetch(t, exitUnknown, key, "--repo", repo, file, fetchTarget)
			if !strings.Contains(got.stderr, file) {
				t.Errorf("%q doesn't name %s", got.stderr, file)
			}
		}
	}
}

func TestFetchTargetThatCantBeWritten(t *testing.T) {
	repo, _ := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	for _, target := range []string{"pg_wal/none/RECOVERYXLOG", "/proc/RECOVERYXLOG", "pg_wal/archive_status"} {
		wantFetch(t, exitUnknown, "write "+target, "--repo", repo, fetchSegment2, target)
	}
}

// A signal ends fetch without an answer. PostgreSQL sends one when it is stopped in recovery.
func TestFetchInterrupted(t *testing.T) {
	repo, _ := fetchRepo(t, fetchSystem)
	dataDirectory(t, fetchSystem)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, file := range []string{fetchSegment2, "000000010000000000000009"} {
		if got := walkeep(ctx, nil, "fetch", "--repo", repo, file, fetchTarget); got.code != exitUnknown || !strings.Contains(got.stderr, "interrupted") {
			t.Errorf("fetch %s: exit %d, %q", file, got.code, got.stderr)
		}
	}
}
