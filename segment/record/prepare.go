package record

import (
	"bytes"
	"time"

	"walkeep/segment"
)

// A Prepare is PREPARE TRANSACTION: what will happen at its end (access/xact.h: xl_xact_prepare). Its slices alias the Body.
type Prepare struct {
	XID, Database  uint32
	Time           time.Time
	Owner          uint32 // OID of the role
	GID            []byte
	Subxacts       XIDs
	DroppedAtEnd   Locators // files removed if it commits
	DroppedAtAbort Locators // files removed if it aborts
	Stats          DroppedStats
	AbortStats     DroppedStats
	Messages       Messages
	OriginLSN      segment.LSN
	OriginTime     time.Time
}

// IsPrepare reports whether the record is one that Prepare decodes.
func IsPrepare(c Record) bool { return c.RMID == rmidTransaction && c.Info&xactOpMask == opPrepare }

// Decode takes apart a record for which IsPrepare holds (access/rmgrdesc/xactdesc.c: ParsePrepareRecord).
func (p *Prepare) Decode(v Version, c Record, b *Body) error {
	*p = Prepare{}
	in := cursor{p: b.Main}
	in.bytes(8) // magic, total length
	p.XID, p.Database, p.Time, p.Owner = in.uint32(), in.uint32(), in.time(), in.uint32()
	subxacts, commitRels, abortRels := in.int32(), in.int32(), in.int32()
	var commitStats, abortStats int32
	if v >= 15 {
		commitStats, abortStats = in.int32(), in.int32()
	}
	messages := in.int32()
	in.bytes(2) // initfileinval, alignment
	gid := in.uint16()
	p.OriginLSN, p.OriginTime = segment.LSN(in.uint64()), in.time()
	p.GID, _, _ = bytes.Cut(in.aligned(int32(gid), 1), []byte{0})
	p.Subxacts = in.aligned(subxacts, xidSize)
	p.DroppedAtEnd, p.DroppedAtAbort = in.aligned(commitRels, locatorSize), in.aligned(abortRels, locatorSize)
	p.Stats = in.alignedStats(v, commitStats)
	p.AbortStats = in.alignedStats(v, abortStats)
	p.Messages = in.aligned(messages, messageSize)
	return in.check(c, b)
}

// aligned takes n elements of size bytes and the alignment behind them, of which the last one may lack.
func (c *cursor) aligned(n int32, size int) []byte {
	p := c.array(n, size)
	c.bytes(min(align(len(p))-len(p), len(c.p)))
	return p
}

func (c *cursor) alignedStats(v Version, n int32) DroppedStats {
	s := c.droppedStats(v, n)
	c.bytes(min(align(len(s.items))-len(s.items), len(c.p)))
	return s
}

// An Assignment tells early which subtransactions belong to a transaction (access/xact.h: xl_xact_assignment).
type Assignment struct {
	Top      uint32
	Subxacts XIDs
}

// IsAssignment reports whether the record is one that Assignment decodes.
func IsAssignment(c Record) bool {
	return c.RMID == rmidTransaction && c.Info&xactOpMask == opAssignment
}

// Decode takes apart a record for which IsAssignment holds.
func (a *Assignment) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	a.Top = in.uint32()
	a.Subxacts = in.array(in.int32(), xidSize)
	return in.check(c, b)
}

// IsInvalidation reports whether the record holds the invalidation messages of a command within a transaction, which
// wal_level = logical writes from 14 on.
func IsInvalidation(c Record) bool {
	return c.RMID == rmidTransaction && c.Info&xactOpMask == opInvalidation
}

// DecodeInvalidation returns the messages of a record for which IsInvalidation holds (access/xact.h: xl_xact_invals).
func DecodeInvalidation(c Record, b *Body) (Messages, error) {
	in := cursor{p: b.Main}
	m := Messages(in.array(in.int32(), messageSize))
	return m, in.check(c, b)
}
