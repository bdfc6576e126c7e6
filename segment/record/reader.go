package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"walkeep/segment"
)

// A Reader walks the WAL of one stream in order. Its bytes are fed as they arrive, in pieces of any size; it
// yields each record that ends in the bytes fed so far:
//
//	r.Feed(p)
//	for r.Next() {
//		use(r.Record())
//	}
//	if err := r.Err(); err != nil { ... }
//
// After an error a Reader stays where it is: go on with a Clone made earlier, or with a new Reader at a later
// segment. A Reader is for one goroutine at a time and takes less than 450 bytes whatever the WAL holds, without KeepBodies.
type Reader struct {
	systemID uint64
	timeline segment.Timeline
	size     segment.Size
	padding  bool // see AllowPadding

	data []byte      // fed, not yet consumed
	pos  segment.LSN // of the first byte of data
	err  error
	rec  Record // what Next found
	body []byte // the beginning of its body

	lowest    segment.Timeline // the last page's: timelines never go back
	magic     uint16           // of the pages, 0 before the first one that is known
	unchecked uint64

	phase  phase
	since  segment.LSN // where the history of records begins
	last   segment.LSN // start of the last whole record, 0 if there was none since
	begin  segment.LSN // start of the unfinished record
	length uint32      // of the unfinished record
	left   uint32      // bytes of it still to come
	crc    uint32      // of its body so far
	head   [headerSize]byte
	prefix [MaxPrefix]byte // the beginning of its body, as far as it has come
	keep   []byte          // in place of prefix, where KeepBodies asked for more
	limit  int             // how much of a body is kept
	got    int
	page   [longHeaderSize]byte // a page header that came in pieces
}

// NewReader walks the WAL of the cluster with systemID (IDENTIFY_SYSTEM) on timeline from start, which must be
// the first byte of a segment. Pages may be of timeline or of its ancestors. A record that began before start
// is passed over and counted as unchecked.
func NewReader(systemID uint64, timeline segment.Timeline, size segment.Size, start segment.LSN) *Reader {
	if size == 0 || size.Offset(start) != 0 {
		panic(fmt.Sprintf("record: %s is not the start of a segment of %d bytes", start, size))
	}
	return &Reader{
		systemID: systemID, timeline: timeline, size: size,
		pos: start, since: start, lowest: 1, phase: phaseFresh, limit: MaxPrefix,
	}
}

// KeepBodies makes Prefix give up to limit bytes of a record's body instead of MaxPrefix, for those who decode records.
// It takes limit bytes of memory at once and none per record. Call it before the first Feed.
func (r *Reader) KeepBodies(limit int) { r.limit, r.keep = limit, make([]byte, limit) }

// AllowPadding makes the Reader take a record length of zero, or zeros in place of a page header, for the end
// of WAL, as PostgreSQL does: the rest of that segment must be zeros, an unfinished record is dropped, and the
// next segment begins without history. This is for files that were filled up. A live stream has no such
// zeros, so without AllowPadding they are damage.
func (r *Reader) AllowPadding() { r.padding = true }

// Feed hands the Reader the bytes at Position. It keeps p, which must stay unchanged until Next has returned
// false, and no longer. To feed before that is a programmer's error and panics. After an error it does
// nothing.
func (r *Reader) Feed(p []byte) {
	if len(r.data) > 0 {
		panic("record: Feed before Next returned false")
	}
	if r.err == nil {
		r.data = p
	}
}

// Next advances to the next record that ends in the bytes fed. It returns false when all of them are consumed,
// or on an error.
func (r *Reader) Next() bool {
	for len(r.data) > 0 {
		if r.whole() || r.step() {
			return true
		}
	}
	return false
}

// Record is what the last Next that returned true found.
func (r *Reader) Record() Record { return r.rec }

// Prefix is the beginning of that record's body, up to MaxPrefix bytes or what KeepBodies allows; it may alias what was
// fed, and is valid until the next call of Next. The body is there as a whole if these are Length less 24 bytes.
func (r *Reader) Prefix() []byte { return r.body }

// Err is the *DamageError that stopped the Reader, or nil.
func (r *Reader) Err() error { return r.err }

// Check feeds p and passes over the records in it.
func (r *Reader) Check(p []byte) error {
	r.Feed(p)
	for r.Next() {
	}
	return r.err
}

// Version is the PostgreSQL that wrote the pages so far, 0 as long as there was none of a known format.
func (r *Reader) Version() Version { return versionOf(r.magic) }

// Position is the LSN of the next byte to be consumed: once Next has returned false without an error, of the
// next byte to be fed.
func (r *Reader) Position() segment.LSN { return r.pos }

// Unchecked is how many bytes were passed over without a CRC since the Reader was made: the rest of a record
// that began before it, the part of a record whose rest was lost in a crash of the server, and segments in a
// format that this package doesn't know.
func (r *Reader) Unchecked() uint64 { return r.unchecked }

// Pending tells whether the bytes consumed end within a record, and where that starts: 0 if it began before
// the Reader did. If no more bytes exist, WAL is torn there, which is how it ends after a crash.
func (r *Reader) Pending() (start segment.LSN, ok bool) {
	return r.begin, r.left > 0
}

// Clone returns a Reader in the same state, with nothing fed: it goes on at Position. The two share nothing.
func (r *Reader) Clone() *Reader {
	c := *r
	c.data, c.body = nil, nil
	if r.keep != nil {
		c.keep = make([]byte, r.limit)
		copy(c.keep, r.keep[:r.got])
	}
	return &c
}

// whole is the short way through: a record that lies in one piece on its page and in the data, and is as it
// should be. Whatever else there is, it leaves to step.
func (r *Reader) whole() bool {
	offset := int(r.pos & (pageSize - 1))
	if r.phase != phaseBetween || offset < r.headerSizeAt(r.pos) || offset%alignment != 0 {
		return false
	}
	room := min(pageSize-offset, len(r.data))
	if room < headerSize {
		return false
	}
	p := r.data[:room]
	length := int(binary.LittleEndian.Uint32(p))
	if length > room || length < headerSize {
		return false
	}
	c := &r.rec
	c.set(r.pos, p)
	if !r.plausibleHeader(c) {
		return false
	}
	crc := crc32.Update(0, castagnoli, p[headerSize:length])
	crc = crc32.Update(crc, castagnoli, p[:crcOffset])
	if crc != binary.LittleEndian.Uint32(p[crcOffset:]) {
		return false
	}
	r.body = p[headerSize:min(length, headerSize+r.limit)]
	c.End = r.pos + segment.LSN(align(length))
	r.last = r.pos
	if c.isSwitch() {
		r.advance(length)
		r.switched()
		return true
	}
	r.advance(min(align(length), len(r.data)))
	return true
}

// advance consumes n bytes.
func (r *Reader) advance(n int) {
	r.data = r.data[n:]
	r.pos += segment.LSN(n)
}
