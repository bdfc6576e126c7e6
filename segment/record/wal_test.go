package record_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"walkeep/segment"
	"walkeep/segment/record"
)

const (
	pageSize = 8192
	oneMB    = segment.MinSize
	systemID = 7301234567890123456
	magic14  = 0xD10D
	magic15  = 0xD110
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A writer writes WAL as access/transam/xlog.c does, in the order of the bytes.
type writer struct {
	magic    uint16
	timeline uint32
	size     segment.Size
	start    segment.LSN

	buf     []byte
	covered []bool // by a page header or a record, one per byte of buf
	prev    segment.LSN
	records []record.Record
	ends    []segment.LSN        // of the records' last bytes
	lost    uint64               // bytes of abandoned records
	flush   func(segment []byte) // if set, takes each whole segment out of buf
	flags   uint16               // for the next page header
}

func newWriter(size segment.Size) *writer {
	return &writer{magic: magic15, timeline: 1, size: size, start: segment.LSN(size)}
}

func (w *writer) reader() *record.Reader {
	return record.NewReader(systemID, segment.Timeline(w.timeline), w.size, w.start)
}

func (w *writer) pos() segment.LSN { return w.start + segment.LSN(len(w.buf)) }

// room is what is left of the current page, 0 at its end.
func (w *writer) room() int { return int(-w.pos() & (pageSize - 1)) }

// put appends p, which a record with `rest` bytes behind it continues; isFirst tells that it begins with p.
func (w *writer) put(p []byte, rest int, isFirst bool) {
	for len(p) > 0 {
		if w.room() == 0 {
			remaining := len(p) + rest
			if isFirst {
				remaining = 0
			}
			w.putPageHeader(uint32(remaining))
		}
		n := min(len(p), w.room())
		w.append(p[:n], true)
		p, isFirst = p[n:], false
	}
}

func (w *writer) append(p []byte, covered bool) {
	w.buf = append(w.buf, p...)
	if w.flush == nil {
		w.covered = append(w.covered, slices.Repeat([]bool{covered}, len(p))...)
	} else if len(w.buf) == int(w.size) {
		w.flush(w.buf)
		w.start += segment.LSN(w.size)
		w.buf = w.buf[:0]
	}
}

func (w *writer) putPageHeader(remaining uint32) {
	h := make([]byte, 24, 40)
	flags := w.flags
	w.flags = 0
	if remaining > 0 {
		flags |= 1
	}
	if w.size.Offset(w.pos()) == 0 {
		flags |= 2
		h = h[:40]
		binary.LittleEndian.PutUint64(h[24:], systemID)
		binary.LittleEndian.PutUint32(h[32:], uint32(w.size))
		binary.LittleEndian.PutUint32(h[36:], pageSize)
	}
	binary.LittleEndian.PutUint16(h, w.magic)
	binary.LittleEndian.PutUint16(h[2:], flags)
	binary.LittleEndian.PutUint32(h[4:], w.timeline)
	binary.LittleEndian.PutUint64(h[8:], uint64(w.pos()))
	binary.LittleEndian.PutUint32(h[16:], remaining)
	w.append(h, true)
}

// header returns a record header with its checksum.
func (w *writer) header(rmid, info byte, xid uint32, parts [][]byte) []byte {
	length, crc := 24, uint32(0)
	for _, p := range parts {
		length += len(p)
		crc = crc32.Update(crc, castagnoli, p)
	}
	h := make([]byte, 24)
	binary.LittleEndian.PutUint32(h, uint32(length))
	binary.LittleEndian.PutUint32(h[4:], xid)
	binary.LittleEndian.PutUint64(h[8:], uint64(w.prev))
	h[16], h[17] = info, rmid
	binary.LittleEndian.PutUint32(h[20:], crc32.Update(crc, castagnoli, h[:20]))
	return h
}

// nextStart is where the next record begins: behind the header of its page.
func (w *writer) nextStart() segment.LSN {
	if w.room() > 0 {
		return w.pos()
	}
	if w.size.Offset(w.pos()) == 0 {
		return w.pos() + 40
	}
	return w.pos() + 24
}

// record writes a record of the parts and notes what a Reader must find.
func (w *writer) record(rmid, info byte, xid uint32, parts ...[]byte) record.Record {
	h := w.header(rmid, info, xid, parts)
	c := record.Record{
		LSN: w.nextStart(), Prev: w.prev, XID: xid, Info: info, RMID: rmid,
		Length: binary.LittleEndian.Uint32(h),
	}
	rest := int(c.Length) - len(h)
	w.put(h, rest, true)
	for _, p := range parts {
		rest -= len(p)
		w.put(p, rest, false)
	}
	w.ends = append(w.ends, w.pos())
	w.append(make([]byte, int(-w.pos()&7)), false)
	c.End = w.pos()
	w.prev = c.LSN
	w.records = append(w.records, c)
	return c
}

// switchSegment writes XLOG_SWITCH and the zeros behind it.
func (w *writer) switchSegment() {
	w.record(0, 0x40, 0)
	if rest := int(-w.pos() & segment.LSN(w.size-1)); rest > 0 {
		w.append(make([]byte, rest), false)
	}
	w.records[len(w.records)-1].End = w.pos()
}

// abandon writes the part of a record that lies on n pages, whose rest is lost in a crash, and what follows one
// (access/transam/xlog.c: CreateOverwriteContrecordRecord).
func (w *writer) abandon(n int) {
	body := make([]byte, (n+1)*pageSize)
	lost := append(w.header(10, 0, 1, [][]byte{body}), body...)
	for i := range n {
		room := int(-w.nextStart() & (pageSize - 1))
		w.put(lost[:room], len(lost)-room, i == 0)
		lost = lost[room:]
		w.lost += uint64(room)
		clear(w.covered[len(w.covered)-room:])
	}
	w.flags = 8
	w.record(0, 0xD0, 0, make([]byte, 18))
}

// fill returns n bytes that aren't all the same.
func fill(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}
