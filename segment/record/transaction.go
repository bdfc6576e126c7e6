package record

import (
	"encoding/binary"
	"fmt"
	"time"

	"walkeep/segment"
)

// Facts of transaction records (access/xact.h).
const (
	xactOpMask = 0x70 // XLOG_XACT_OPMASK
	hasXinfo   = 0x80 // XLOG_XACT_HAS_INFO

	hasDatabase  = 1 << 0 // XACT_XINFO_HAS_DBINFO
	hasSubxacts  = 1 << 1 // XACT_XINFO_HAS_SUBXACTS
	hasRelations = 1 << 2 // XACT_XINFO_HAS_RELFILELOCATORS
	hasMessages  = 1 << 3 // XACT_XINFO_HAS_INVALS
	hasTwoPhase  = 1 << 4 // XACT_XINFO_HAS_TWOPHASE
	hasOrigin    = 1 << 5 // XACT_XINFO_HAS_ORIGIN
	hasGID       = 1 << 7 // XACT_XINFO_HAS_GID
	hasStats     = 1 << 8 // XACT_XINFO_HAS_DROPPED_STATS, set from 15 on

	applyFeedback     = 1 << 29 // XACT_COMPLETION_APPLY_FEEDBACK
	relcacheInitInval = 1 << 30 // XACT_COMPLETION_UPDATE_RELCACHE_FILE
	forceSyncCommit   = 1 << 31 // XACT_COMPLETION_FORCE_SYNC_COMMIT
)

// The operations of transactions (access/xact.h).
const (
	opCommit         = 0x00 // XLOG_XACT_COMMIT
	opPrepare        = 0x10 // XLOG_XACT_PREPARE
	opAbort          = 0x20 // XLOG_XACT_ABORT
	opCommitPrepared = 0x30 // XLOG_XACT_COMMIT_PREPARED
	opAbortPrepared  = 0x40 // XLOG_XACT_ABORT_PREPARED
	opAssignment     = 0x50 // XLOG_XACT_ASSIGNMENT
	opInvalidation   = 0x60 // XLOG_XACT_INVALIDATIONS
)

// A Transaction is how one ended: COMMIT, ABORT, COMMIT_PREPARED or ABORT_PREPARED. Its slices alias the Body.
type Transaction struct {
	// XID is the transaction that ended. For a prepared one it is not the record's.
	XID         uint32
	IsCommitted bool
	IsPrepared  bool      // it had been prepared before
	Info        uint32    // which parts the record has, and what replay must do: XACT_XINFO_* and XACT_COMPLETION_*
	Time        time.Time // by the server's clock; recovery_target_time compares with it
	// Database where it ran, 0 if the record doesn't say.
	Database, Tablespace uint32
	Subxacts             XIDs
	Dropped              Locators // files removed with its end
	DroppedStats         DroppedStats
	Messages             Messages // what other backends must forget
	GID                  []byte   // of a prepared transaction, where the server logged it
	OriginLSN            segment.LSN
	OriginTime           time.Time // zero without an origin
}

// IsEnd reports whether the record is one that Transaction decodes.
func IsEnd(c Record) bool {
	if c.RMID != rmidTransaction {
		return false
	}
	switch c.Info & xactOpMask {
	case opCommit, opAbort, opCommitPrepared, opAbortPrepared:
		return true
	}
	return false
}

// CommitTime reports whether a record is a commit, of a prepared transaction or another, and when it was made by the
// server's clock. prefix is Reader.Prefix of the record. at is zero if the record is shaped as none that we know.
func CommitTime(c Record, prefix []byte) (at time.Time, ok bool) {
	if op := c.Info & xactOpMask; c.RMID != rmidTransaction || op != opCommit && op != opCommitPrepared {
		return time.Time{}, false
	}
	data := mainData(prefix)
	if len(data) < 8 {
		return time.Time{}, true
	}
	return timeAt(int64(binary.LittleEndian.Uint64(data))), true // xl_xact_commit begins with xact_time
}

// mainData returns what prefix holds of a record's main data, for a record without blocks; nil for others. It is what
// Body.Decode does, for the receiver, which needs no more.
func mainData(prefix []byte) []byte {
	in := cursor{p: prefix}
	for {
		switch in.uint8() {
		case blockIDOrigin:
			in.bytes(2)
		case blockIDTopLevelXID:
			in.bytes(4)
		case blockIDDataShort:
			in.bytes(1)
			return in.p
		case blockIDDataLong:
			in.bytes(4)
			return in.p
		default:
			return nil
		}
	}
}

// Decode takes apart a record for which IsEnd holds (access/rmgrdesc/xactdesc.c: ParseCommitRecord, ParseAbortRecord).
func (t *Transaction) Decode(v Version, c Record, b *Body) error {
	op := c.Info & xactOpMask
	*t = Transaction{
		XID: c.XID, IsCommitted: op == opCommit || op == opCommitPrepared,
		IsPrepared: op == opCommitPrepared || op == opAbortPrepared,
	}
	in := cursor{p: b.Main}
	t.Time = in.time()
	if c.Info&hasXinfo != 0 {
		t.Info = in.uint32()
	}
	t.decodeLists(v, &in)
	if t.Info&hasTwoPhase != 0 {
		t.XID = in.uint32()
		if t.Info&hasGID != 0 {
			t.GID = in.text()
		}
	}
	if t.Info&hasOrigin != 0 {
		t.OriginLSN, t.OriginTime = segment.LSN(in.uint64()), in.time()
	}
	return in.check(c, b)
}

// decodeLists reads the parts up to the invalidation messages, each of which is there if its bit is set.
func (t *Transaction) decodeLists(v Version, in *cursor) {
	if t.Info&hasDatabase != 0 {
		t.Database, t.Tablespace = in.uint32(), in.uint32()
	}
	if t.Info&hasSubxacts != 0 {
		t.Subxacts = in.array(in.int32(), xidSize)
	}
	if t.Info&hasRelations != 0 {
		t.Dropped = in.array(in.int32(), locatorSize)
	}
	if t.Info&hasStats != 0 {
		t.DroppedStats = in.droppedStats(v, in.int32())
	}
	if t.Info&hasMessages != 0 && t.IsCommitted {
		t.Messages = in.array(in.int32(), messageSize)
	}
}

// check turns a cursor that came to its end too early into an error.
func (c *cursor) check(rec Record, b *Body) error {
	if !c.short {
		return nil
	}
	err := fmt.Errorf("main data of %d bytes is too short", b.MainLength)
	if b.IsCut {
		err = ErrCut
	}
	return fmt.Errorf("record at %s, %s: %w", rec.LSN, ManagerName(rec.RMID), err)
}
