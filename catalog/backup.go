package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// ManifestFile is PostgreSQL's own manifest of a base backup among the files of a Backup.
const ManifestFile = "backup_manifest"

// MaxSlices is how many slices one file of a backup can have: five hexadecimal digits of their keys.
const MaxSlices = 1 << 20

func (k keys) backups() string { return k.under("backup") }

func (k keys) backup(id segment.BackupID) Key { return k.backups() + id.String() + ".json" }

func (k keys) parts(id segment.BackupID) string { return k.under("part") + id.String() + "/" }

func (k keys) backupStart(id segment.BackupID) Key { return k.parts(id) + "start.json" }

// slice is the key of the n-th slice of a file. The first of the manifest carries its plain name.
func (k keys) slice(id segment.BackupID, file string, n int) Key {
	if file == ManifestFile && n == 0 {
		return k.parts(id) + file
	}
	return fmt.Sprintf("%s%s.%05x", k.parts(id), file, n)
}

const backupFormat = 1

// A Backup describes a base backup: what of it is stored, and what its restore needs to know. It is written last.
type Backup struct {
	Format        int              `json:"format"` // 1
	ID            segment.BackupID `json:"id"`
	SystemID      string           `json:"system_id"`
	SegmentSize   segment.Size     `json:"wal_segment_size"` // bytes
	ServerVersion int              `json:"server_version"`   // server_version_num
	Label         string           `json:"label"`
	Source        BackupSource     `json:"source"`
	Started       time.Time        `json:"started_at"`  // by the clock of the machine that took it
	Finished      time.Time        `json:"finished_at"` // of the transfer

	Timeline   segment.Timeline `json:"timeline"`
	Start      segment.LSN      `json:"start_lsn"`      // recovery begins here (the redo position)
	Checkpoint segment.LSN      `json:"checkpoint_lsn"` // of the checkpoint record
	Stop       segment.LSN      `json:"stop_lsn"`       // the backup is consistent once recovery is here

	SliceSize        int64             `json:"slice_size"` // raw bytes of each slice but a file's last
	Files            []BackupFile      `json:"files"`      // base.tar last but the manifest
	Tablespaces      []BackupSpace     `json:"tablespaces"`
	DataFiles        int               `json:"data_files"`        // in all archives
	DataBytes        int64             `json:"data_bytes"`        // their content
	ManifestChecksum string            `json:"manifest_checksum"` // SHA-256 that backup_manifest ends with, hex
	DataChecksums    bool              `json:"data_checksums"`    // the cluster has page checksums, and the server has checked them
	ConfigOutside    bool              `json:"config_outside"`    // postgresql.conf is not in the data directory
	Settings         map[string]string `json:"settings"`          // effective on the server while it was backed up
	SettingsComplete bool              `json:"settings_complete"` // false: only what a replication connection tells
}

// BackupSource says what kind of server a backup was taken from.
type BackupSource string

// Kinds of servers.
const (
	FromPrimary BackupSource = "primary"
	FromStandby BackupSource = "standby"
)

// A BackupFile is one file of a backup, stored in slices.
type BackupFile struct {
	Name   string `json:"name"`   // base.tar, 16391.tar, backup_manifest
	Size   int64  `json:"size"`   // raw bytes
	Stored int64  `json:"stored"` // bytes of its objects
	Slices int    `json:"slices"`
	Hash   string `json:"xxh64"` // XXH64, seed 0, of the slices' hashes, 8 bytes little-endian each; 16 hexadecimal digits
}

// A BackupSpace is a tablespace beside the two that are in the data directory. Its files are in <oid>.tar.
type BackupSpace struct {
	OID  uint32 `json:"oid"`
	Path string `json:"path"` // where it was on the server
}

// Size is how many raw bytes all files of the backup have.
func (b Backup) Size() int64 {
	var n int64
	for _, f := range b.Files {
		n += f.Size
	}
	return n
}

// Stored is how many bytes the backup takes in the repository.
func (b Backup) Stored() int64 {
	var n int64
	for _, f := range b.Files {
		n += f.Stored
	}
	return n
}

// check refuses a backup that can't be the one under key.
func (b Backup) check(k keys, key Key) error {
	switch {
	case b.Format != backupFormat:
		return fmt.Errorf("%s has format %d, this version of walkeep reads %d: use a newer walkeep", key, b.Format, backupFormat)
	case k.backup(b.ID) != key || b.SystemID != fmt.Sprint(k.systemID) || b.ID.Start != b.Start || b.ID.Lineage.Timeline != b.Timeline:
		return fmt.Errorf("%s describes another backup than its name", key)
	case b.Stop < b.Start || b.SliceSize < 1 || b.SliceSize > segment.MaxSlice:
		return fmt.Errorf("%s: from %s to %s in slices of %d bytes: not a backup", key, b.Start, b.Stop, b.SliceSize)
	}
	for _, f := range b.Files {
		if want := (f.Size + b.SliceSize - 1) / b.SliceSize; f.Size < 0 || int64(f.Slices) != want || want > MaxSlices {
			return fmt.Errorf("%s: %s has %d bytes in %d slices", key, f.Name, f.Size, f.Slices)
		}
	}
	return nil
}

// BeginBackup notes, before its first part, that a backup is being taken.
func (c *Catalog) BeginBackup(ctx context.Context, id segment.BackupID, now time.Time) error {
	data, err := json.Marshal(struct {
		Format  int              `json:"format"`
		ID      segment.BackupID `json:"id"`
		Started time.Time        `json:"started_at"`
	}{backupFormat, id, now.UTC().Truncate(time.Microsecond)})
	if err != nil {
		return err
	}
	return c.putOnce(ctx, c.keys.backupStart(id), data)
}

// PutPart stores a slice of a backup; object must begin with the statement, and the statement's offset be a multiple of
// sliceSize. The same slice stored before is success.
func (c *Catalog) PutPart(ctx context.Context, part segment.Part, sliceSize int, object []byte) error {
	n := part.Offset / int64(sliceSize)
	if part.Offset%int64(sliceSize) != 0 || n >= MaxSlices {
		return fmt.Errorf("put %s: not a slice of %d bytes, or more than %d of them", part, sliceSize, MaxSlices)
	}
	key := c.keys.slice(part.Backup, part.File, int(n))
	err := c.store.Put(ctx, key, object)
	if errors.Is(err, storage.ErrExists) {
		return c.comparePart(ctx, key, part)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// comparePart settles ErrExists: an answer to our own Put was lost, or something else is there.
func (c *Catalog) comparePart(ctx context.Context, key Key, part segment.Part) error {
	object, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	stored, _, err := segment.ParsePart(object)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if stored != part {
		return fmt.Errorf("%s holds %s, not %s: %w", key, stored, part, storage.ErrExists)
	}
	return nil
}

// Part reads the n-th slice of a file of a backup and appends its raw bytes to dst, checked. n from 0.
func (c *Catalog) Part(ctx context.Context, b Backup, file string, n int, dst []byte) ([]byte, error) {
	key := c.keys.slice(b.ID, file, n)
	object, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return dst, fmt.Errorf("get %s: %w", key, err)
	}
	raw, part, err := segment.DecodePart(dst, object)
	if err != nil {
		return dst, fmt.Errorf("%s: %w", key, err)
	}
	if part.SystemID != c.systemID || part.Backup != b.ID || part.File != file || part.Offset != int64(n)*b.SliceSize {
		return dst, fmt.Errorf("%s: %w: it holds %s", key, segment.ErrDamaged, part)
	}
	return raw, nil
}

// PutBackup makes a backup exist. Only when all its parts are durable, and the WAL up to its end.
func (c *Catalog) PutBackup(ctx context.Context, b Backup) error {
	b.Format = backupFormat
	b.SystemID, b.SegmentSize = fmt.Sprint(c.systemID), c.size
	key := c.keys.backup(b.ID)
	if err := b.check(c.keys, key); err != nil {
		return err
	}
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	return c.putOnce(ctx, key, data)
}

// putOnce stores an object that nobody else writes: what is there already must be the same, from a Put whose answer was
// lost.
func (c *Catalog) putOnce(ctx context.Context, key Key, data []byte) error {
	err := c.store.Put(ctx, key, data)
	if errors.Is(err, storage.ErrExists) {
		stored, getErr := c.store.Get(ctx, key, nil)
		if getErr != nil {
			return fmt.Errorf("get %s: %w", key, getErr)
		}
		if string(stored) == string(data) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// Backup reads the description of a backup. storage.ErrNotFound if there is none, or none that was finished.
func (c *Catalog) Backup(ctx context.Context, id segment.BackupID) (Backup, error) {
	return c.readBackup(ctx, c.keys.backup(id))
}

// Backups returns all finished backups of the cluster, by lineage and start.
func (c *Catalog) Backups(ctx context.Context) ([]Backup, error) {
	var all []Backup
	prefix := c.keys.backups()
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if !strings.HasSuffix(object.Key, ".json") {
			return nil, fmt.Errorf("object %q has no place here", object.Key)
		}
		b, err := c.readBackup(ctx, object.Key)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (c *Catalog) readBackup(ctx context.Context, key Key) (Backup, error) {
	data, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return Backup{}, fmt.Errorf("get %s: %w", key, err)
	}
	var b Backup
	if err := json.Unmarshal(data, &b); err != nil {
		return Backup{}, fmt.Errorf("%s: %w", key, err)
	}
	return b, b.check(c.keys, key)
}
