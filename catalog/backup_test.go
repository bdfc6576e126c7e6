package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func backupAt(start segment.LSN) catalog.Backup {
	return catalog.Backup{
		ID: segment.BackupID{Lineage: segment.Lineage{Timeline: 1}, Start: start, Token: 7}, Timeline: 1, Start: start, Stop: start + 8,
		SliceSize: 4, Files: []catalog.BackupFile{{Name: "base.tar", Size: 9, Stored: 5, Slices: 3, Hash: "00"}, {Name: "backup_manifest", Size: 1, Stored: 2, Slices: 1}},
	}
}

func backupCatalog(t *testing.T) (*catalog.Catalog, *storagetest.Memory) {
	t.Helper()
	store := storagetest.NewMemory()
	c, _, err := catalog.Create(t.Context(), store, 42, 16<<20, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c, store
}

func TestBackupsAreListedInOrder(t *testing.T) {
	c, store := backupCatalog(t)
	ctx := t.Context()
	for _, start := range []segment.LSN{0x3000028, 0x2000028} {
		b := backupAt(start)
		if err := errors.Join(c.BeginBackup(ctx, b.ID, time.Now()), c.PutBackup(ctx, b), c.PutBackup(ctx, b)); err != nil {
			t.Fatal(err)
		}
	}
	unfinished := backupAt(0x4000028)
	if err := c.BeginBackup(ctx, unfinished.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Backup(ctx, unfinished.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a backup that was begun only: %v", err)
	}
	all, err := c.Backups(ctx)
	if err != nil || len(all) != 2 || all[0].Start != 0x2000028 || all[1].Start != 0x3000028 {
		t.Fatalf("got %v, %v", all, err)
	}
	if got := all[0]; got.SystemID != "42" || got.SegmentSize != 16<<20 || got.Size() != 10 || got.Stored() != 7 {
		t.Errorf("got %+v", got)
	}
	want := []string{
		"42/backup/00000001-00000000-0000000002000028-0007.json", "42/backup/00000001-00000000-0000000003000028-0007.json",
		"42/part/00000001-00000000-0000000002000028-0007/start.json", "42/part/00000001-00000000-0000000003000028-0007/start.json",
		"42/part/00000001-00000000-0000000004000028-0007/start.json", "cluster/42.json",
	}
	if diff := cmp.Diff(want, store.Keys()); diff != "" {
		t.Error(diff)
	}
}

func TestBackupIsChecked(t *testing.T) {
	for name, change := range map[string]func(*catalog.Backup){
		"ends before it starts": func(b *catalog.Backup) { b.Stop = b.Start - 1 },
		"other start":           func(b *catalog.Backup) { b.Start++ },
		"other timeline":        func(b *catalog.Backup) { b.Timeline = 2 },
		"slice of no size":      func(b *catalog.Backup) { b.SliceSize = 0 },
		"too few slices":        func(b *catalog.Backup) { b.Files[0].Slices = 2 },
		"size below zero":       func(b *catalog.Backup) { b.Files[0].Size = -1 },
	} {
		c, _ := backupCatalog(t)
		b := backupAt(0x2000028)
		change(&b)
		if err := c.PutBackup(t.Context(), b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c, store := backupCatalog(t)
	b := backupAt(0x2000028)
	if err := c.PutBackup(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	store.Corrupt(store.Keys()[0], func(data []byte) []byte {
		return []byte(strings.Replace(string(data), `"format": 1`, `"format": 2`, 1))
	})
	if _, err := c.Backups(t.Context()); err == nil || !strings.Contains(err.Error(), "use a newer walkeep") {
		t.Errorf("format 2: %v", err)
	}
}

// The first slice of PostgreSQL's manifest has its plain name, so that keys in their order give the file.
func TestSlicesOfTheManifest(t *testing.T) {
	c, store := backupCatalog(t)
	b := backupAt(0x2000028)
	var got []byte
	for n, raw := range []string{"abcd", "ef"} {
		part := segment.NewPart(42, b.ID, catalog.ManifestFile, int64(4*n), []byte(raw))
		object, err := segment.NewEncoder().EncodePart(nil, part, []byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PutPart(t.Context(), part, 4, object); err != nil {
			t.Fatal(err)
		}
		if got, err = c.Part(t.Context(), b, catalog.ManifestFile, n, got); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "abcdef" {
		t.Errorf("got %q", got)
	}
	prefix := "42/part/" + b.ID.String() + "/"
	if diff := cmp.Diff([]string{prefix + "backup_manifest", prefix + "backup_manifest.00001", "cluster/42.json"}, store.Keys()); diff != "" {
		t.Error(diff)
	}
	other := segment.NewPart(42, b.ID, "base.tar", 2, []byte("x"))
	if err := c.PutPart(t.Context(), other, 4, nil); err == nil {
		t.Error("a slice that begins in the middle is accepted")
	}
}
