package record

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"walkeep/segment"
)

// A phase is what the bytes at Position are, apart from page headers: these come wherever a page begins,
// except in phaseZeros and phaseOpaque.
type phase uint8

const (
	phaseFresh   phase = iota // at the first page of a segment, nothing known of the records before
	phaseBetween              // at the start of a record, or at the alignment before it
	phaseLength               // in the first four bytes of a record, which are always on one page
	phaseHeader               // in the rest of a record's header
	phaseBody                 // in the rest of a record
	phaseSkip                 // in a record that began before the Reader did
	phaseZeros                // behind XLOG_SWITCH or the end of WAL: zeros up to the end of the segment
	phaseOpaque               // in a segment of unknown format
)

// step goes one step through the data, of which there must be some, and tells whether a record ended there.
func (r *Reader) step() bool {
	offset := int(r.pos & (pageSize - 1))
	isRaw := r.phase == phaseZeros || r.phase == phaseOpaque
	if !isRaw && offset < r.headerSizeAt(r.pos) {
		r.stepPage(offset)
		return false
	}
	n := min(pageSize-offset, len(r.data))
	switch r.phase {
	case phaseBetween:
		r.stepBetween()
	case phaseLength:
		r.stepLength()
	case phaseHeader:
		return r.stepHeader(n)
	case phaseBody:
		n = min(n, int(r.left))
		r.crc = crc32.Update(r.crc, castagnoli, r.data[:n])
		r.got += copy(r.kept()[r.got:], r.data[:n])
		r.left -= uint32(n)
		r.advance(n)
		return r.left == 0 && r.finish()
	case phaseSkip:
		n = min(n, int(r.left))
		r.unchecked += uint64(n)
		r.left -= uint32(n)
		r.advance(n)
		if r.left == 0 {
			r.phase = phaseBetween
		}
	case phaseZeros:
		r.stepZeros()
	case phaseOpaque:
		n = min(len(r.data), r.restOfSegment())
		r.unchecked += uint64(n)
		r.advance(n)
		r.leaveSegment()
	}
	return false
}

// stepBetween consumes the alignment behind a record, or finds that the next one begins.
func (r *Reader) stepBetween() {
	if n := int(-r.pos & (alignment - 1)); n > 0 {
		r.advance(min(n, len(r.data)))
		return
	}
	r.phase, r.begin, r.left, r.crc = phaseLength, r.pos, lengthSize, 0
}

// stepLength gathers a record's length.
func (r *Reader) stepLength() {
	n := copy(r.head[lengthSize-r.left:lengthSize], r.data)
	r.left -= uint32(n)
	r.advance(n)
	if r.left == 0 {
		r.startRecord()
	}
}

// stepHeader gathers the rest of a record's header, which may go on behind the next page's header.
func (r *Reader) stepHeader(n int) bool {
	got := int(r.length - r.left)
	n = copy(r.head[got:], r.data[:n])
	r.left -= uint32(n)
	r.advance(n)
	return got+n == headerSize && r.startBody()
}

// startRecord: the length of the record at begin is known.
func (r *Reader) startRecord() {
	r.length = binary.LittleEndian.Uint32(r.head[:])
	switch {
	case r.length == 0 && r.padding:
		r.endOfWAL()
	case r.length == 0:
		r.damaged(r.begin, "record length 0, as if WAL ended here")
	case r.length < headerSize || r.length > maxLength:
		r.damaged(r.begin, "record length %d bytes", r.length)
	default:
		r.phase, r.left = phaseHeader, r.length-lengthSize
	}
}

// startBody: the header of the record at begin is complete.
func (r *Reader) startBody() bool {
	var c Record
	c.set(r.begin, r.head[:])
	if !r.plausiblePrev(c.Prev) {
		if r.last == 0 {
			r.damaged(r.begin, "previous record at %s, want one before %s", c.Prev, r.since)
		} else {
			r.damaged(r.begin, "previous record at %s, want %s", c.Prev, r.last)
		}
		return false
	}
	if !r.plausibleRMID(c.RMID) {
		r.damaged(r.begin, "resource manager %d", c.RMID)
		return false
	}
	r.phase, r.got = phaseBody, 0
	return r.left == 0 && r.finish()
}

// kept is where the beginning of an unfinished record's body is gathered.
func (r *Reader) kept() []byte {
	if r.keep != nil {
		return r.keep
	}
	return r.prefix[:]
}

// finish: all bytes of the record at begin have come.
func (r *Reader) finish() bool {
	crc := crc32.Update(r.crc, castagnoli, r.head[:crcOffset])
	if want := binary.LittleEndian.Uint32(r.head[crcOffset:]); crc != want {
		r.damaged(r.begin, "record checksum %08X, want %08X", crc, want)
		return false
	}
	r.rec.set(r.begin, r.head[:])
	r.body = r.kept()[:r.got]
	r.rec.End = align(r.pos)
	r.last = r.begin
	r.phase = phaseBetween
	if r.rec.isSwitch() {
		r.switched()
	}
	return true
}

// switched: the record that ended at Position is XLOG_SWITCH. PostgreSQL clears the rest of its segment, page
// headers included (access/transam/xlog.c: CopyXLogRecordToWAL).
func (r *Reader) switched() {
	if rest := r.restOfSegment(); rest < int(r.size) {
		r.phase = phaseZeros
		r.rec.End = r.pos + segment.LSN(rest)
	}
}

// endOfWAL: padding begins. What is known of the records before ends with it.
func (r *Reader) endOfWAL() {
	if r.left > 0 {
		r.drop()
	}
	r.phase, r.last = phaseZeros, 0
	r.since = r.pos + segment.LSN(r.restOfSegment())
}

// drop gives up the unfinished record: what came of it has no checksum.
func (r *Reader) drop() {
	if r.phase != phaseSkip {
		r.unchecked += uint64(r.length - r.left)
	}
	r.left = 0
}

func (r *Reader) stepZeros() {
	n := min(len(r.data), r.restOfSegment())
	if p := r.data[:n]; p[0] != 0 || !bytes.Equal(p[1:], p[:n-1]) {
		first := len(p) - len(bytes.TrimLeft(p, "\x00"))
		r.damaged(r.pos+segment.LSN(first), "not zero behind the last record of the segment")
		return
	}
	r.advance(n)
	r.leaveSegment()
}

// restOfSegment is how many bytes lie between Position and the end of its segment: all at its start.
func (r *Reader) restOfSegment() int { return int(r.size) - r.size.Offset(r.pos) }

// leaveSegment ends phaseZeros and phaseOpaque at the end of the segment.
func (r *Reader) leaveSegment() {
	if r.size.Offset(r.pos) != 0 {
		return
	}
	r.phase = phaseBetween
	if r.last == 0 {
		r.phase = phaseFresh
	}
}

// stepPage gathers a page header, of which the data may have only a part, and checks it once it is complete.
func (r *Reader) stepPage(offset int) {
	want := r.headerSizeAt(r.pos)
	lsn := r.pos - segment.LSN(offset)
	n := copy(r.page[offset:want], r.data)
	r.advance(n)
	if offset+n < want {
		return
	}
	h := parsePageHeader(r.page[:want])
	switch {
	case r.padding && h == (pageHeader{}):
		r.endOfWAL()
	case want == longHeaderSize && !r.isKnownFormat(&h):
		r.phase, r.since = phaseOpaque, lsn+segment.LSN(r.size)
		r.unchecked += uint64(want)
	case r.checkPage(lsn, &h):
		r.magic, r.lowest = h.magic, h.timeline
		r.enterPage(lsn, &h)
	}
}

// enterPage decides how the walk goes on behind the page header at lsn (XLogDecodeNextRecord and
// XLogFindNextRecord, access/transam/xlogreader.c).
func (r *Reader) enterPage(lsn segment.LSN, h *pageHeader) {
	isContinued := h.flags&flagContinued != 0
	isOverwritten := h.flags&flagOverwritten != 0
	switch {
	case isContinued && isOverwritten:
		r.damaged(lsn, "page both continues and overwrites a record")
	case r.phase == phaseFresh && isContinued:
		r.phase, r.begin, r.left = phaseSkip, 0, h.remaining
	case r.phase == phaseFresh:
		r.phase = phaseBetween
	case r.left > 0 && isOverwritten:
		// After a crash the rest of the record was lost, and WAL goes on here.
		r.drop()
		r.phase = phaseBetween
	case r.left > 0 && !isContinued:
		r.damaged(lsn, "page doesn't continue the record at %s", r.begin)
	case r.left > 0 && h.remaining != r.left:
		r.damaged(lsn, "page continues a record with %d bytes, want %d", h.remaining, r.left)
	case r.left == 0 && isContinued:
		r.damaged(lsn, "page continues a record that had ended before it")
	case r.left == 0 && isOverwritten:
		r.damaged(lsn, "page overwrites a record that had ended before it")
	}
}
