package record

import (
	"encoding/binary"
	"time"
)

// A cursor takes values off the front of p. Once there is not enough left, short is set and stays, and all it gives is zero.
// Integers are little-endian: WAL is in the byte order of the machine that wrote it.
type cursor struct {
	p     []byte
	short bool
}

// bytes takes n bytes, nil if they are not there.
func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.p) {
		c.p, c.short = nil, true
		return nil
	}
	b := c.p[:n:n]
	c.p = c.p[n:]
	return b
}

// array takes n elements of size bytes.
func (c *cursor) array(n int32, size int) []byte {
	if n < 0 || int(n) > len(c.p)/size {
		c.p, c.short = nil, true
		return nil
	}
	return c.bytes(int(n) * size)
}

func (c *cursor) uint8() uint8 {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) int32() int32 { return int32(c.uint32()) }

func (c *cursor) locator() Locator {
	return Locator{Tablespace: c.uint32(), Database: c.uint32(), Relation: c.uint32()}
}

// time takes a TimestampTz.
func (c *cursor) time() time.Time { return timeAt(int64(c.uint64())) }

// epoch is what PostgreSQL counts microseconds from (datatype/timestamp.h: POSTGRES_EPOCH_JDATE).
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// timeAt translates a TimestampTz, microseconds since epoch. A time.Duration would overflow after 292 years, and damaged
// input may say anything.
func timeAt(micros int64) time.Time {
	seconds := micros / 1e6
	return time.Unix(epoch.Unix()+seconds, (micros-seconds*1e6)*1e3).UTC()
}
