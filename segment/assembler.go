package segment

import (
	"fmt"
)

// OrderError: a message does not begin where the one before ended. The stream is useless: drop the
// connection and stream again.
type OrderError struct {
	Want, Got LSN
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("server sent WAL from %s, expected %s", e.Got, e.Want)
}

// An Assembler places the bytes of one timeline's stream into segment buffers. Messages cross segment
// boundaries (replication/walsender.c: XLogSendPhysical rounds to pages, not to segments), so a message is
// placed piece by piece: copy into Room, then Advance; when a segment is full, Begin gives the next buffer.
//
// It is for one goroutine.
type Assembler struct {
	size Size
	next LSN
	buf  []byte
}

// NewAssembler starts at the beginning of a segment.
func NewAssembler(size Size, start LSN) (*Assembler, error) {
	if size.Offset(start) != 0 {
		return nil, fmt.Errorf("assemble from %s: not the beginning of a segment", start)
	}
	return &Assembler{size: size, next: start}, nil
}

// Next is the position of the next byte expected: R in the protocol document.
func (a *Assembler) Next() LSN { return a.next }

// Message checks that a message of n bytes begins at the position expected. An *OrderError otherwise.
func (a *Assembler) Message(start LSN, n int) error {
	if start != a.next {
		return &OrderError{Want: a.next, Got: start}
	}
	if end := start + LSN(n); end < start {
		return fmt.Errorf("server sent %d bytes of WAL from %s: beyond the end of the number range", n, start)
	}
	return nil
}

// Begin gives the buffer for the segment that starts at Next; it must be a whole segment long. The
// Assembler writes to it until the segment is full.
func (a *Assembler) Begin(buf []byte) {
	if a.buf != nil || a.size.Offset(a.next) != 0 || len(buf) != int(a.size) {
		panic("segment: Begin in the middle of a segment, or with a buffer of another size")
	}
	a.buf = buf
}

// Room is the free rest of the current segment's buffer, and nil when Begin must be called first.
func (a *Assembler) Room() []byte {
	if a.buf == nil {
		return nil
	}
	return a.buf[a.size.Offset(a.next):]
}

// Advance says that the first n bytes of Room are now filled, and reports whether the segment is full: its
// buffer then belongs to the caller.
func (a *Assembler) Advance(n int) bool {
	if n < 0 || n > len(a.Room()) {
		panic("segment: Advance beyond the segment")
	}
	a.next += LSN(n)
	if n > 0 && a.size.Offset(a.next) == 0 {
		a.buf = nil
		return true
	}
	return false
}
