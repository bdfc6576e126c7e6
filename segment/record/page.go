package record

import (
	"encoding/binary"

	"walkeep/segment"
)

// Format facts of pages (access/xlog_internal.h).
const (
	pageSize        = 8192 // XLOG_BLCKSZ as every distribution builds it
	shortHeaderSize = 24   // SizeOfXLogShortPHD
	longHeaderSize  = 40   // SizeOfXLogLongPHD, on the first page of a segment

	flagContinued   = 1 // XLP_FIRST_IS_CONTRECORD
	flagLong        = 2 // XLP_LONG_HEADER
	flagRemovable   = 4 // XLP_BKP_REMOVABLE: no meaning for readers
	flagOverwritten = 8 // XLP_FIRST_IS_OVERWRITE_CONTRECORD, from 13.5 and 14.1 on
	allFlags        = flagContinued | flagLong | flagRemovable | flagOverwritten
)

// XLOG_PAGE_MAGIC of each major version.
const (
	magic13 = 0xD106
	magic14 = 0xD10D
	magic15 = 0xD110
	magic16 = 0xD113
	magic17 = 0xD116
	magic18 = 0xD118
)

// IsKnownMagic reports whether this package can read pages with that xlp_magic.
func IsKnownMagic(magic uint16) bool {
	switch magic {
	case magic13, magic14, magic15, magic16, magic17, magic18:
		return true
	}
	return false
}

// headerSizeAt is the size of the header of the page that holds lsn.
func (r *Reader) headerSizeAt(lsn segment.LSN) int {
	if r.size.Offset(lsn) < pageSize {
		return longHeaderSize
	}
	return shortHeaderSize
}

// A pageHeader is XLogPageHeaderData, or XLogLongPageHeaderData where the long flag is set.
type pageHeader struct {
	magic     uint16
	flags     uint16
	timeline  segment.Timeline
	address   segment.LSN
	remaining uint32 // bytes of the continued record from this page on
	padding   uint32
	systemID  uint64 // this and the following: long header only
	size      uint32
	blockSize uint32
}

func parsePageHeader(p []byte) pageHeader {
	h := pageHeader{
		magic:     binary.LittleEndian.Uint16(p),
		flags:     binary.LittleEndian.Uint16(p[2:]),
		timeline:  segment.Timeline(binary.LittleEndian.Uint32(p[4:])),
		address:   segment.LSN(binary.LittleEndian.Uint64(p[8:])),
		remaining: binary.LittleEndian.Uint32(p[16:]),
		padding:   binary.LittleEndian.Uint32(p[20:]),
	}
	if len(p) >= longHeaderSize {
		h.systemID = binary.LittleEndian.Uint64(p[24:])
		h.size = binary.LittleEndian.Uint32(p[32:])
		h.blockSize = binary.LittleEndian.Uint32(p[36:])
	}
	return h
}

// isKnownFormat tells whether this package can read the pages of the segment that h begins. A format that it
// can't read is not damage; but one stream comes from one major version, so a format that changes is.
func (r *Reader) isKnownFormat(h *pageHeader) bool {
	if r.magic != 0 || h.magic == 0 {
		return true
	}
	return IsKnownMagic(h.magic) && !isOtherBlockSize(h.blockSize)
}

// isOtherBlockSize: configure --with-wal-blocksize allows the powers of two from 1 to 64 KB.
func isOtherBlockSize(n uint32) bool {
	return n != pageSize && n >= 1<<10 && n <= 1<<16 && n&(n-1) == 0
}

// checkPage repeats XLogReaderValidatePageHeader (access/transam/xlogreader.c) for the page at lsn. It is
// stricter where PostgreSQL never writes anything else (xlog.c: AdvanceXLInsertBuffer clears a page first):
// padding and unused lengths are zero.
func (r *Reader) checkPage(lsn segment.LSN, h *pageHeader) bool {
	isFirst := r.size.Offset(lsn) == 0
	switch {
	case r.magic != 0 && h.magic != r.magic:
		r.damaged(lsn, "page magic %04X, %04X before", h.magic, r.magic)
	case !IsKnownMagic(h.magic):
		r.damaged(lsn, "page magic %04X", h.magic)
	case h.flags&^allFlags != 0 || h.flags&flagLong != 0 != isFirst:
		r.damaged(lsn, "page flags %04X", h.flags)
	case h.address != lsn:
		r.damaged(lsn, "page says it is at %s", h.address)
	case h.timeline < r.lowest || h.timeline > r.timeline:
		r.damaged(lsn, "page of timeline %d, want %d to %d", uint32(h.timeline), uint32(r.lowest), uint32(r.timeline))
	case h.padding != 0:
		r.damaged(lsn, "page header padding %08X", h.padding)
	case h.flags&flagContinued == 0 && h.remaining != 0:
		r.damaged(lsn, "page continues no record but has %d bytes of one", h.remaining)
	case h.flags&flagContinued != 0 && (h.remaining == 0 || h.remaining > maxLength):
		r.damaged(lsn, "page continues a record with %d bytes", h.remaining)
	case isFirst:
		return r.checkLong(lsn, h)
	}
	return r.err == nil
}

// checkLong checks what only the first page of a segment has.
func (r *Reader) checkLong(lsn segment.LSN, h *pageHeader) bool {
	switch {
	case h.systemID != r.systemID:
		r.damaged(lsn, "WAL of system %d, want %d", h.systemID, r.systemID)
	case h.size != uint32(r.size):
		r.damaged(lsn, "wal_segment_size %d bytes, want %d", h.size, uint32(r.size))
	case h.blockSize != pageSize:
		r.damaged(lsn, "page size %d bytes, want %d", h.blockSize, pageSize)
	}
	return r.err == nil
}
