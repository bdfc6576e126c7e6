package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walkeep/restore"
	"walkeep/segment"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSystemID(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := restore.SystemID(dir); ok || err != nil {
		t.Errorf("no data directory: %v, %v", ok, err)
	}
	write(t, dir, "global/pg_control", "\x01\x02\x03\x04\x05\x06\x07\x08 and so on")
	if id, ok, err := restore.SystemID(dir); id != 0x0807060504030201 || !ok || err != nil {
		t.Errorf("SystemID = %#x, %v, %v", id, ok, err)
	}
	write(t, dir, "global/pg_control", "short")
	if _, _, err := restore.SystemID(dir); err == nil {
		t.Error("a control file of five bytes is no error")
	}
}

func TestIsStandby(t *testing.T) {
	dir := t.TempDir()
	if standby, err := restore.IsStandby(dir); standby || err != nil {
		t.Errorf("IsStandby = %v, %v", standby, err)
	}
	write(t, dir, "standby.signal", "")
	if standby, err := restore.IsStandby(dir); !standby || err != nil {
		t.Errorf("IsStandby = %v, %v", standby, err)
	}
	if _, err := restore.IsStandby(filepath.Join(dir, "standby.signal")); err == nil {
		t.Error("a file is no data directory, and no error")
	}
}

func TestHistories(t *testing.T) {
	dir := t.TempDir()
	if got, err := restore.Histories(dir); len(got) != 0 || err != nil {
		t.Errorf("no data directory: %v, %v", got, err)
	}
	write(t, dir, "pg_wal/000000020000000000000004", "a segment")
	write(t, dir, "pg_wal/00000002.history", historyOf2)
	write(t, dir, "pg_wal/0000000A.history", historyOf2b)
	write(t, dir, "pg_wal/00000002.history.ready", "")
	write(t, dir, "pg_wal/archive_status/00000003.history.done", "")
	write(t, dir, "pg_wal/RECOVERYHISTORY", "being fetched")
	all, err := restore.Histories(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[segment.Timeline]string{}
	for _, h := range all {
		got[h.Lineage.Timeline] = string(h.Content)
		if l, err := segment.NewLineage(h.Lineage.Timeline, h.Content); err != nil || l != h.Lineage {
			t.Errorf("lineage of timeline %d: %s, want %s, %v", h.Lineage.Timeline, h.Lineage, l, err)
		}
	}
	if diff := cmp.Diff(map[segment.Timeline]string{2: historyOf2, 10: historyOf2b}, got); diff != "" {
		t.Error(diff)
	}
	write(t, dir, "pg_wal/00000005.history", "")
	if _, err := restore.Histories(dir); err == nil {
		t.Error("an empty history is no error")
	}
}
