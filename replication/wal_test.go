package replication

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"walkeep/segment"
)

const (
	oneMB    = segment.MinSize
	systemID = 7301234567890123456

	walPage  = 8192
	walMagic = 0xD110 // PostgreSQL 15
)

// A walWriter writes WAL as PostgreSQL does (access/transam/xlog.c): whole pages, records with their checksums.
type walWriter struct {
	timeline segment.Timeline
	size     segment.Size
	start    segment.LSN
	buf      []byte // from start on
	prev     segment.LSN
}

// newWAL begins at the second segment, as after initdb.
func newWAL(size segment.Size) *walWriter {
	return &walWriter{timeline: 1, size: size, start: segment.LSN(size)}
}

func (w *walWriter) end() segment.LSN { return w.start + segment.LSN(len(w.buf)) }

// room is what is left of the current page, 0 at its end.
func (w *walWriter) room() int { return int(-w.end() & (walPage - 1)) }

// put appends p, which a record with rest bytes behind it goes on after; first tells that the record begins with p.
func (w *walWriter) put(p []byte, rest int, first bool) {
	for len(p) > 0 {
		if w.room() == 0 {
			remaining := len(p) + rest
			if first {
				remaining = 0
			}
			w.page(uint32(remaining))
		}
		n := min(len(p), w.room())
		w.buf = append(w.buf, p[:n]...)
		p, first = p[n:], false
	}
}

func (w *walWriter) page(remaining uint32) {
	le, flags, at := binary.LittleEndian, uint16(0), w.end()
	if remaining > 0 {
		flags |= 1
	}
	if w.size.Offset(at) == 0 {
		flags |= 2
	}
	w.buf = le.AppendUint16(w.buf, walMagic)
	w.buf = le.AppendUint16(w.buf, flags)
	w.buf = le.AppendUint32(w.buf, uint32(w.timeline))
	w.buf = le.AppendUint64(w.buf, uint64(at))
	w.buf = le.AppendUint64(w.buf, uint64(remaining)) // and padding
	if w.size.Offset(at) == 0 {
		w.buf = le.AppendUint64(w.buf, systemID)
		w.buf = le.AppendUint32(w.buf, uint32(w.size))
		w.buf = le.AppendUint32(w.buf, walPage)
	}
}

// record writes a record with n bytes of body and returns where it begins.
func (w *walWriter) record(n int) segment.LSN {
	body := make([]byte, n)
	for i := 0; i < n; i += 1 + i/64 { // few and far between: it compresses well
		body[i] = byte(w.prev>>3) + byte(i)
	}
	return w.write(10, 0, body)
}

// commit writes the commit of a transaction.
func (w *walWriter) commit(at time.Time) segment.LSN {
	micros := uint64(at.UnixMicro() - microsecondsTo2000)
	return w.write(1, 0, append([]byte{255, 8}, binary.LittleEndian.AppendUint64(nil, micros)...))
}

func (w *walWriter) write(rmid, info byte, body []byte) segment.LSN {
	table, h := crc32.MakeTable(crc32.Castagnoli), make([]byte, 24)
	binary.LittleEndian.PutUint32(h, uint32(24+len(body)))
	binary.LittleEndian.PutUint32(h[4:], 700)
	binary.LittleEndian.PutUint64(h[8:], uint64(w.prev))
	h[16], h[17] = info, rmid
	crc := crc32.Update(crc32.Update(0, table, body), table, h[:20])
	binary.LittleEndian.PutUint32(h[20:], crc)
	if w.room() == 0 {
		w.page(0)
	}
	at := w.end()
	w.put(h, len(body), true)
	w.put(body, 0, false)
	w.buf = append(w.buf, make([]byte, -w.end()&7)...)
	w.prev = at
	return at
}

// fill writes records up to about n bytes before lsn.
func (w *walWriter) fill(lsn segment.LSN, n int) {
	for left := int(lsn-w.end()) - n; left > 200; left = int(lsn-w.end()) - n {
		w.record(min(left-150, 3*walPage))
	}
}

// switchSegment ends the segment as pg_switch_wal does: a record, and zeros behind it.
func (w *walWriter) switchSegment() {
	w.write(0, 0x40, nil)
	w.buf = append(w.buf, make([]byte, int(-w.end()&segment.LSN(w.size-1)))...)
}

// between returns the WAL [from, to).
func (w *walWriter) between(from, to segment.LSN) []byte { return w.buf[from-w.start : to-w.start] }
