package record

import (
	"encoding/binary"
	"hash/crc32"

	"walkeep/segment"
)

// Format facts of records (access/xlogrecord.h, catalog/pg_control.h).
const (
	headerSize = 24      // SizeOfXLogRecord
	lengthSize = 4       // sizeof(xl_tot_len), the first field
	crcOffset  = 20      // offsetof(XLogRecord, xl_crc)
	alignment  = 8       // MAXALIGN: where records start
	maxLength  = 1 << 30 // PostgreSQL 16 stops at 1020 MB (XLogRecordMaxSize), before it at 1 GB less one byte

	infoMask = 0xF0 // ~XLR_INFO_MASK: the bits that belong to the resource manager
)

// MaxPrefix is how many bytes of a record's body Reader.Prefix gives.
const MaxPrefix = 64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Record is the header of one record whose CRC is right (access/xlogrecord.h: XLogRecord).
type Record struct {
	// LSN is where the record starts.
	LSN segment.LSN
	// End is where PostgreSQL takes it to end: rounded up to 8 bytes; for XLOG_SWITCH the end of its segment.
	// The last bytes before End may not have been fed yet.
	End segment.LSN
	// Prev is the start of the record before, 0 for the first of a cluster.
	Prev segment.LSN
	// Length in bytes, header included, page headers between its parts not.
	Length uint32
	// XID is the transaction's 32-bit id, 0 if the record belongs to none.
	XID uint32
	// Info holds the operation in its upper four bits; what it means depends on RMID.
	Info uint8
	// RMID is the resource manager (access/rmgrlist.h); 128 and above are extensions'.
	RMID uint8
}

// isSwitch tells whether the rest of the segment is unused.
func (c *Record) isSwitch() bool { return c.is(opSwitch) }

// set takes the fields of the header at p, which starts at lsn. End is left to the caller.
func (c *Record) set(lsn segment.LSN, p []byte) {
	_ = p[headerSize-1]
	c.LSN = lsn
	c.Length = binary.LittleEndian.Uint32(p)
	c.XID = binary.LittleEndian.Uint32(p[4:])
	c.Prev = segment.LSN(binary.LittleEndian.Uint64(p[8:]))
	c.Info = p[16]
	c.RMID = p[17]
}

// plausibleHeader repeats ValidXLogRecordHeader (access/transam/xlogreader.c) except for the length.
func (r *Reader) plausibleHeader(c *Record) bool {
	return r.plausiblePrev(c.Prev) && r.plausibleRMID(c.RMID)
}

// plausiblePrev: the record before is known, or else began before the Reader's history does.
func (r *Reader) plausiblePrev(prev segment.LSN) bool {
	return prev == r.last || r.last == 0 && prev < r.since
}

func (r *Reader) plausibleRMID(id uint8) bool {
	return id <= lastBuiltinRMID || id >= firstCustomRMID && r.magic >= magic15
}

// align rounds n up to where the next record may start.
func align[T ~uint32 | ~uint64 | ~int](n T) T { return (n + alignment - 1) &^ (alignment - 1) }
