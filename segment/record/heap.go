package record

// Facts of heap records (access/heapam_xlog.h).
const (
	heapOpMask = 0x70 // XLOG_HEAP_OPMASK; the bit above says that the page is built anew

	opInsert      = 0x00 // XLOG_HEAP_INSERT
	opDelete      = 0x10 // XLOG_HEAP_DELETE
	opUpdate      = 0x20 // XLOG_HEAP_UPDATE
	opTruncate    = 0x30 // XLOG_HEAP_TRUNCATE
	opHotUpdate   = 0x40 // XLOG_HEAP_HOT_UPDATE
	opMultiInsert = 0x50 // XLOG_HEAP2_MULTI_INSERT, of Heap2

	deleteIsSuper         = 1 << 3 // XLH_DELETE_IS_SUPER
	deleteIsPartitionMove = 1 << 4 // XLH_DELETE_IS_PARTITION_MOVE
	insertIsSpeculative   = 1 << 2 // XLH_INSERT_IS_SPECULATIVE
	insertIsToast         = 1 << 4 // XLH_INSERT_ON_TOAST_RELATION
)

// ChangeKind is what a heap record does to rows.
type ChangeKind uint8

// The kinds of changes to rows.
const (
	Insert ChangeKind = iota + 1
	Update            // of a row that moved to another place of its relation, which may be on the same page
	HotUpdate
	Delete
)

// A RowChange is rows inserted, updated or deleted. A transaction's end says whether they count; XIDs of records are those of
// subtransactions.
type RowChange struct {
	Kind     ChangeKind
	Relation Locator
	Block    uint32 // page of the new rows, or of the deleted one
	Rows     int    // more than 1 for Insert only
	Offset   uint16 // of the row on its page: inserted (0 for several), deleted, before the update
	// NewOffset is that of the row after an update, on Block.
	NewOffset uint16
	// OldBlock is the page of the row before an update.
	OldBlock uint32
	XMax     uint32 // old row's, for updates and deletes
	Flags    uint8
}

// IsSuper reports whether a Delete takes back a speculative insert (INSERT ... ON CONFLICT) that lost the race: no row is
// lost by it.
func (r *RowChange) IsSuper() bool { return r.Kind == Delete && r.Flags&deleteIsSuper != 0 }

// IsPartitionMove reports whether a Delete is a part of an UPDATE that moves the row to another partition.
func (r *RowChange) IsPartitionMove() bool {
	return r.Kind == Delete && r.Flags&deleteIsPartitionMove != 0
}

// IsSpeculative reports whether an Insert is one of INSERT ... ON CONFLICT, which may be taken back.
func (r *RowChange) IsSpeculative() bool { return r.Kind == Insert && r.Flags&insertIsSpeculative != 0 }

// IsToast reports whether an Insert is into a TOAST relation, where the server says so: with wal_level = logical.
func (r *RowChange) IsToast() bool { return r.Kind == Insert && r.Flags&insertIsToast != 0 }

// kindOf tells what a record does to rows, 0 for nothing.
func kindOf(c Record) ChangeKind {
	op := c.Info & heapOpMask
	switch {
	case c.RMID == rmidHeap2 && op == opMultiInsert, c.RMID == rmidHeap && op == opInsert:
		return Insert
	case c.RMID == rmidHeap && op == opUpdate:
		return Update
	case c.RMID == rmidHeap && op == opHotUpdate:
		return HotUpdate
	case c.RMID == rmidHeap && op == opDelete:
		return Delete
	}
	return 0
}

// IsRowChange reports whether the record is one that RowChange decodes.
func IsRowChange(c Record) bool { return kindOf(c) != 0 }

// Decode takes apart a record for which IsRowChange holds. All of it is in the main data, so that images of pages hide nothing.
func (r *RowChange) Decode(c Record, b *Body) error {
	*r = RowChange{Kind: kindOf(c), Rows: 1}
	if k, ok := b.Block(0); ok {
		r.Relation, r.Block, r.OldBlock = k.Relation, k.Number, k.Number
	}
	if k, ok := b.Block(1); ok {
		r.OldBlock = k.Number
	}
	in := cursor{p: b.Main}
	switch {
	case c.RMID == rmidHeap2: // xl_heap_multi_insert
		r.Flags = in.uint8()
		in.bytes(1)
		r.Rows = int(in.uint16())
	case r.Kind == Insert: // xl_heap_insert
		r.Offset, r.Flags = in.uint16(), in.uint8()
	case r.Kind == Delete: // xl_heap_delete
		r.XMax, r.Offset = in.uint32(), in.uint16()
		in.bytes(1)
		r.Flags = in.uint8()
	default: // xl_heap_update
		r.XMax, r.Offset = in.uint32(), in.uint16()
		in.bytes(1)
		r.Flags = in.uint8()
		in.bytes(4) // new row's xmax
		r.NewOffset = in.uint16()
	}
	return in.check(c, b)
}

// Flags of a Truncate (access/heapam_xlog.h).
const (
	truncateCascade     = 1 << 0 // XLH_TRUNCATE_CASCADE
	truncateRestartSeqs = 1 << 1 // XLH_TRUNCATE_RESTART_SEQS
)

// A Truncate is a TRUNCATE of tables by OID, which wal_level = logical logs. Without it a TRUNCATE is the end of a transaction
// that drops files.
type Truncate struct {
	Database  uint32
	Relations XIDs // OIDs, not numbers of files
	Flags     uint8
}

// IsTruncate reports whether the record is one that Truncate decodes.
func IsTruncate(c Record) bool { return c.RMID == rmidHeap && c.Info&heapOpMask == opTruncate }

// Decode takes apart a record for which IsTruncate holds (access/heapam_xlog.h: xl_heap_truncate).
func (t *Truncate) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	t.Database = in.uint32()
	n := in.int32()
	t.Flags = in.uint8()
	in.bytes(3)
	t.Relations = in.array(n, 4)
	return in.check(c, b)
}
