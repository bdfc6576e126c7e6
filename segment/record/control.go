package record

import (
	"bytes"
	"time"

	"walkeep/segment"
)

// Operations of XLOG (catalog/pg_control.h).
const (
	opCheckpointShutdown = 0x00 // XLOG_CHECKPOINT_SHUTDOWN
	opCheckpointOnline   = 0x10 // XLOG_CHECKPOINT_ONLINE
	opSwitch             = 0x40 // XLOG_SWITCH
	opBackupEnd          = 0x50 // XLOG_BACKUP_END
	opParameterChange    = 0x60 // XLOG_PARAMETER_CHANGE
	opRestorePoint       = 0x70 // XLOG_RESTORE_POINT
	opEndOfRecovery      = 0x90 // XLOG_END_OF_RECOVERY
	opFPIForHint         = 0xA0 // XLOG_FPI_FOR_HINT
	opFPI                = 0xB0 // XLOG_FPI
	opOverwrite          = 0xD0 // XLOG_OVERWRITE_CONTRECORD
	opCheckpointRedo     = 0xE0 // XLOG_CHECKPOINT_REDO, from 17 on
)

// is reports whether a record is one of XLOG with that operation.
func (c *Record) is(op uint8) bool { return c.RMID == rmidXLOG && c.Info&infoMask == op }

// WALLevel is the server's wal_level (access/xlog.h: WalLevel).
type WALLevel int32

// String returns the setting's value.
func (l WALLevel) String() string {
	switch l {
	case 0:
		return "minimal"
	case 1:
		return "replica"
	case 2:
		return "logical"
	}
	return "?"
}

// A Checkpoint is what redo can start from (catalog/pg_control.h: CheckPoint).
type Checkpoint struct {
	IsShutdown             bool
	Redo                   segment.LSN
	Timeline, Previous     segment.Timeline
	FullPageWrites         bool
	WALLevel               WALLevel // from 17 on
	NextXID                uint64   // with the epoch in its upper half
	NextOID                uint32
	NextMulti, NextOffset  uint32
	OldestXID, OldestXIDDB uint32
	OldestMulti            uint32
	OldestMultiDB          uint32
	Time                   time.Time // whole seconds
	OldestCommitTS         uint32
	NewestCommitTS         uint32
	OldestActiveXID        uint32
}

// IsCheckpoint reports whether the record is one that Checkpoint decodes.
func IsCheckpoint(c Record) bool { return c.is(opCheckpointShutdown) || c.is(opCheckpointOnline) }

// Decode takes apart a record for which IsCheckpoint holds.
func (k *Checkpoint) Decode(v Version, c Record, b *Body) error {
	in := cursor{p: b.Main}
	*k = Checkpoint{IsShutdown: c.is(opCheckpointShutdown), Redo: segment.LSN(in.uint64())}
	k.Timeline, k.Previous = segment.Timeline(in.uint32()), segment.Timeline(in.uint32())
	k.FullPageWrites = in.uint8() != 0
	in.bytes(3)
	if level := in.int32(); v >= 17 { // alignment before
		k.WALLevel = WALLevel(level)
	}
	k.NextXID, k.NextOID = in.uint64(), in.uint32()
	k.NextMulti, k.NextOffset = in.uint32(), in.uint32()
	k.OldestXID, k.OldestXIDDB = in.uint32(), in.uint32()
	k.OldestMulti, k.OldestMultiDB = in.uint32(), in.uint32()
	in.bytes(4)
	k.Time = time.Unix(int64(in.uint64()), 0).UTC()
	k.OldestCommitTS, k.NewestCommitTS, k.OldestActiveXID = in.uint32(), in.uint32(), in.uint32()
	return in.check(c, b)
}

// A ParameterChange has the settings that a standby must know (access/xlog_internal.h: xl_parameter_change).
type ParameterChange struct {
	MaxConnections, MaxWorkerProcesses, MaxWALSenders int32
	MaxPreparedTransactions, MaxLocksPerTransaction   int32
	WALLevel                                          WALLevel
	WALLogHints, TrackCommitTimestamp                 bool
}

// IsParameterChange reports whether the record is one that ParameterChange decodes.
func IsParameterChange(c Record) bool { return c.is(opParameterChange) }

// Decode takes apart a record for which IsParameterChange holds.
func (p *ParameterChange) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	p.MaxConnections, p.MaxWorkerProcesses, p.MaxWALSenders = in.int32(), in.int32(), in.int32()
	p.MaxPreparedTransactions, p.MaxLocksPerTransaction = in.int32(), in.int32()
	p.WALLevel = WALLevel(in.int32())
	p.WALLogHints, p.TrackCommitTimestamp = in.uint8() != 0, in.uint8() != 0
	return in.check(c, b)
}

// A RestorePoint is pg_create_restore_point (access/xlog_internal.h: xl_restore_point).
type RestorePoint struct {
	Time time.Time
	Name []byte // as the server has it, up to 63 bytes
}

// IsRestorePoint reports whether the record is one that RestorePoint decodes.
func IsRestorePoint(c Record) bool { return c.is(opRestorePoint) }

// Decode takes apart a record for which IsRestorePoint holds.
func (p *RestorePoint) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	p.Time = in.time()
	p.Name, _, _ = bytes.Cut(in.bytes(64), []byte{0})
	return in.check(c, b)
}

// An EndOfRecovery is where a promoted server begins its timeline (access/xlog_internal.h: xl_end_of_recovery).
type EndOfRecovery struct {
	Time               time.Time
	Timeline, Previous segment.Timeline
	WALLevel           WALLevel // from 17 on
}

// IsEndOfRecovery reports whether the record is one that EndOfRecovery decodes.
func IsEndOfRecovery(c Record) bool { return c.is(opEndOfRecovery) }

// Decode takes apart a record for which IsEndOfRecovery holds.
func (e *EndOfRecovery) Decode(v Version, c Record, b *Body) error {
	in := cursor{p: b.Main}
	*e = EndOfRecovery{Time: in.time(), Timeline: segment.Timeline(in.uint32()), Previous: segment.Timeline(in.uint32())}
	if v >= 17 {
		e.WALLevel = WALLevel(in.int32())
	}
	return in.check(c, b)
}

// An Overwrite stands where WAL goes on behind a record whose rest was lost in a crash (access/xlog_internal.h:
// xl_overwrite_contrecord).
type Overwrite struct {
	Lost segment.LSN // start of the lost record
	Time time.Time
}

// IsOverwrite reports whether the record is one that Overwrite decodes.
func IsOverwrite(c Record) bool { return c.is(opOverwrite) }

// Decode takes apart a record for which IsOverwrite holds.
func (o *Overwrite) Decode(c Record, b *Body) error {
	in := cursor{p: b.Main}
	o.Lost, o.Time = segment.LSN(in.uint64()), in.time()
	return in.check(c, b)
}

// IsSwitch reports whether the rest of the record's segment is unused.
func IsSwitch(c Record) bool { return c.is(opSwitch) }

// IsPageImage reports whether the record holds nothing but images of pages (XLOG_FPI, XLOG_FPI_FOR_HINT).
func IsPageImage(c Record) bool { return c.is(opFPI) || c.is(opFPIForHint) }
