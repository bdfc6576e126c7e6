package oracle_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/postgres"
	"walkeep/segment"
	"walkeep/storage/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCompare archives what a real archive_command stored, as walkeep would, and compares; then with each kind of
// mistake.
func TestCompare(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := postgres.Start(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true})
	names := make([]string, 3)
	for i := range names {
		name, err := s.ArchiveSegment(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names[i] = name
	}
	id, err := s.SystemID(ctx)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("equal", func(t *testing.T) {
		source := oracle.Stored(archive(t, s.OracleDir, id, nil), id)
		report, err := oracle.Compare(ctx, s.OracleDir, source, oracle.Range{From: names[0], Through: names[2]})
		if err != nil || len(report.Equal) != 3 {
			t.Errorf("compared %v: %v", report.Equal, err)
		}
		skipped := strings.Join(report.Skipped, " ")
		if strings.Contains(skipped, names[1]) {
			t.Errorf("%s was skipped", names[1])
		}
	})
	t.Run("a byte differs", func(t *testing.T) {
		flip := func(name string, raw []byte) []byte {
			if name == names[1] {
				raw[0x5001]++
			}
			return raw
		}
		source := oracle.Stored(archive(t, s.OracleDir, id, flip), id)
		report, err := oracle.Compare(ctx, s.OracleDir, source, oracle.Range{From: names[0]})
		if err == nil || !strings.Contains(err.Error(), names[1]+": byte 0x5001 (page 2) differs") || len(report.Equal) != 2 {
			t.Errorf("compared %v: %v", report.Equal, err)
		}
	})
	t.Run("a segment is missing", func(t *testing.T) {
		drop := func(name string, raw []byte) []byte {
			if name == names[2] {
				return nil
			}
			return raw
		}
		source := oracle.Stored(archive(t, s.OracleDir, id, drop), id)
		_, err := oracle.Compare(ctx, s.OracleDir, source, oracle.Range{From: names[0]})
		if err == nil || !strings.Contains(err.Error(), names[2]+": "+oracle.ErrMissing.Error()) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nothing is compared", func(t *testing.T) {
		source := oracle.Stored(archive(t, s.OracleDir, id, nil), id)
		after := names[2][:8] + strings.Repeat("F", 16)
		if report, err := oracle.Compare(ctx, s.OracleDir, source, oracle.Range{From: after}); err == nil {
			t.Errorf("no error, compared %v", report.Equal)
		}
	})
}

// archive makes a repository of the segments in dir. change may alter a segment's bytes or, with nil, leave it out.
func archive(t *testing.T, dir, id string, change func(name string, raw []byte) []byte) *disk.Store {
	t.Helper()
	ctx := context.Background()
	store, err := disk.Create(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	systemID, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := catalog.Create(ctx, store, systemID, segment.MinSize, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, strings.Repeat("?", 24)))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments in %s: %v, %v", dir, files, err)
	}
	encoder := segment.NewEncoder()
	for _, file := range files {
		name, err := segment.ParseName(filepath.Base(file), segment.MinSize)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			raw = change(name.String(), raw)
		}
		if raw == nil {
			continue
		}
		statement := segment.NewStatement(systemID, segment.Lineage{Timeline: 1}, name.Start(), raw)
		object, err := encoder.Encode(nil, statement, raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PutSegment(ctx, name, statement, object); err != nil {
			t.Fatal(err)
		}
	}
	return store
}
