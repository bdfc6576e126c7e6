package record

// Operations of Storage, Database and RelMap (catalog/storage_xlog.h, commands/dbcommands_xlog.h, utils/relmapper.h).
const (
	opStorageCreate   = 0x10 // XLOG_SMGR_CREATE
	opStorageTruncate = 0x20 // XLOG_SMGR_TRUNCATE

	opDatabaseCreateLog = 0x10 // XLOG_DBASE_CREATE_WAL_LOG, from 15 on
	opDatabaseDrop      = 0x20 // XLOG_DBASE_DROP from 15 on
	opDatabaseDropOld   = 0x10 // XLOG_DBASE_DROP before 15
)

// A FileChange is a relation's file created, or cut to a number of pages.
type FileChange struct {
	Relation   Locator
	IsTruncate bool
	Fork       Fork   // created
	Blocks     uint32 // pages left
	Flags      uint32 // which forks were cut (catalog/storage_xlog.h: SMGR_TRUNCATE_*)
}

// IsFileChange reports whether the record is one that FileChange decodes.
func IsFileChange(c Record) bool {
	op := c.Info & infoMask
	return c.RMID == rmidStorage && (op == opStorageCreate || op == opStorageTruncate)
}

// Decode takes apart a record for which IsFileChange holds.
func (f *FileChange) Decode(c Record, b *Body) error {
	*f = FileChange{IsTruncate: c.Info&infoMask == opStorageTruncate}
	in := cursor{p: b.Main}
	if f.IsTruncate { // xl_smgr_truncate
		f.Blocks = in.uint32()
		f.Relation, f.Flags = in.locator(), in.uint32()
	} else { // xl_smgr_create
		f.Relation, f.Fork = in.locator(), Fork(in.uint32())
	}
	return in.check(c, b)
}

// A DatabaseChange is CREATE DATABASE, DROP DATABASE or a move to another tablespace, which is both.
type DatabaseChange struct {
	Database    uint32
	IsDrop      bool
	Tablespaces XIDs // OIDs: where it is created, or all where it was
	// Source is the database copied from, 0 where the copy is logged page by page.
	Source, SourceTablespace uint32
}

// IsDatabaseChange reports whether the record is one that DatabaseChange decodes.
func IsDatabaseChange(v Version, c Record) bool {
	if c.RMID != rmidDatabase {
		return false
	}
	op := c.Info & infoMask
	return op <= opDatabaseDropOld || op == opDatabaseDrop && v >= 15
}

// Decode takes apart a record for which IsDatabaseChange holds.
func (d *DatabaseChange) Decode(v Version, c Record, b *Body) error {
	op := c.Info & infoMask
	*d = DatabaseChange{IsDrop: v >= 15 && op == opDatabaseDrop || v < 15 && op == opDatabaseDropOld}
	in := cursor{p: b.Main}
	d.Database = in.uint32()
	switch {
	case d.IsDrop: // xl_dbase_drop_rec
		d.Tablespaces = in.array(in.int32(), 4)
	default: // xl_dbase_create_rec, xl_dbase_create_file_copy_rec, xl_dbase_create_wal_log_rec
		d.Tablespaces = in.array(1, 4)
		if v < 15 || op != opDatabaseCreateLog {
			d.Source, d.SourceTablespace = in.uint32(), in.uint32()
		}
	}
	return in.check(c, b)
}

// A MapChange says that catalogs without a file number in pg_class have new files (utils/relmapper.h: xl_relmap_update).
type MapChange struct {
	Database   uint32 // 0 for the shared catalogs
	Tablespace uint32
	// Map is the new content of pg_filenode.map.
	Map []byte
}

// IsMapChange reports whether the record is one that MapChange decodes.
func IsMapChange(c Record) bool { return c.RMID == rmidRelMap && c.Info&infoMask == 0 }

// Decode takes apart a record for which IsMapChange holds.
func (m *MapChange) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	m.Database, m.Tablespace = in.uint32(), in.uint32()
	m.Map = in.array(in.int32(), 1)
	return in.check(c, b)
}
