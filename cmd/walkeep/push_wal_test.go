package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"walkeep/segment"
)

// makeWAL writes segments of records that cross into the next one, as access/transam/xlog.c does.
func makeWAL(count int) realWAL {
	const systemID, recordLength = 7301234567890123456, 700_001
	w := realWAL{systemID: systemID}
	start := segment.LSN(segment.MinSize)
	var (
		buf  []byte
		prev segment.LSN
		body = make([]byte, recordLength)
		le   = binary.LittleEndian
		r    = rand.New(rand.NewPCG(1, 2))
	)
	put := func(p []byte, first bool) {
		for len(p) > 0 {
			at := start + segment.LSN(len(buf))
			if at%8192 == 0 {
				flags, remaining := uint16(1), len(p) // XLP_FIRST_IS_CONTRECORD
				if first {
					flags, remaining = 0, 0
				}
				if at%segment.LSN(segment.MinSize) == 0 {
					flags |= 2 // XLP_LONG_HEADER
				}
				buf = le.AppendUint16(le.AppendUint16(buf, 0xD110), flags)
				buf = le.AppendUint64(le.AppendUint32(buf, 1), uint64(at))
				buf = le.AppendUint64(buf, uint64(remaining))
				if flags&2 != 0 {
					buf = le.AppendUint32(le.AppendUint32(le.AppendUint64(buf, systemID), uint32(segment.MinSize)), 8192)
				}
				at = start + segment.LSN(len(buf))
			}
			n := min(len(p), int(8192-at%8192))
			buf, p, first = append(buf, p[:n]...), p[n:], false
		}
	}
	for len(buf) < count*int(segment.MinSize) {
		if len(buf)%8 != 0 {
			buf = append(buf, make([]byte, 8-len(buf)%8)...)
		}
		for i := 24; i < len(body); i++ {
			body[i] = byte(r.Uint32())
		}
		lsn := start + segment.LSN(len(buf))
		if lsn%8192 == 0 {
			lsn += 24 // behind the page's header
		}
		if len(buf) == 0 {
			lsn += 16
		}
		clear(body[:24])
		le.PutUint32(body, recordLength)
		le.PutUint64(body[8:], uint64(prev))
		body[16] = 0x20 // XLOG_NOOP
		table := crc32.MakeTable(crc32.Castagnoli)
		le.PutUint32(body[20:], crc32.Update(crc32.Update(0, table, body[24:]), table, body[:20]))
		put(body, true)
		prev = lsn
	}
	for i := range count {
		size := int(segment.MinSize)
		w.names = append(w.names, segment.NameAt(1, start+segment.LSN(i*size), segment.MinSize))
		w.raw = append(w.raw, buf[i*size:(i+1)*size:(i+1)*size])
	}
	return w
}
