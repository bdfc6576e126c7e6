package record

import (
	"fmt"

	"walkeep/segment"
)

// timeLayout is how the server prints a timestamp in UTC (utils/adt/timestamp.c: timestamptz_to_str).
const timeLayout = "2006-01-02 15:04:05.000000 MST"

// Describe appends to dst what a record did, in the words of pg_waldump: operation, what is decoded of it, and its pages.
// Relations are written as tablespace/database/file. A record that can't be decoded is described as far as it goes.
func Describe(dst []byte, v Version, c Record, b *Body) []byte {
	dst = append(dst, OpName(v, c.RMID, c.Info)...)
	mark := len(dst)
	dst = append(dst, ' ')
	start := len(dst)
	var err error
	switch c.RMID {
	case rmidXLOG:
		dst, err = describeControl(dst, v, c, b)
	case rmidTransaction:
		dst, err = describeTransaction(dst, v, c, b)
	case rmidStorage, rmidDatabase, rmidRelMap:
		dst, err = describeStorage(dst, v, c, b)
	case rmidHeap, rmidHeap2:
		dst, err = describeHeap(dst, c, b)
	}
	if err != nil {
		dst = fmt.Appendf(dst[:start], "(%v)", err)
	}
	if len(dst) == start {
		dst = dst[:mark]
	}
	return describeBlocks(dst, b)
}

func describeControl(dst []byte, v Version, c Record, b *Body) ([]byte, error) {
	switch {
	case IsCheckpoint(c):
		return describeCheckpoint(dst, v, c, b)
	case IsRestorePoint(c):
		var p RestorePoint
		err := p.Decode(c, b)
		return append(dst, p.Name...), err
	case IsParameterChange(c):
		var p ParameterChange
		err := p.Decode(c, b)
		return fmt.Appendf(dst, "max_connections=%d max_worker_processes=%d max_wal_senders=%d max_prepared_xacts=%d "+
			"max_locks_per_xact=%d wal_level=%s wal_log_hints=%s track_commit_timestamp=%s",
			p.MaxConnections, p.MaxWorkerProcesses, p.MaxWALSenders, p.MaxPreparedTransactions,
			p.MaxLocksPerTransaction, p.WALLevel, onOff(p.WALLogHints), onOff(p.TrackCommitTimestamp)), err
	case IsEndOfRecovery(c):
		var e EndOfRecovery
		err := e.Decode(v, c, b)
		dst = fmt.Appendf(dst, "tli %d; prev tli %d; time %s", uint32(e.Timeline), uint32(e.Previous), e.Time.Format(timeLayout))
		if v >= 17 {
			dst = fmt.Appendf(dst, "; wal_level %s", e.WALLevel)
		}
		return dst, err
	case IsOverwrite(c):
		var o Overwrite
		err := o.Decode(c, b)
		return fmt.Appendf(dst, "lsn %s; time %s", o.Lost, o.Time.Format(timeLayout)), err
	case c.is(opBackupEnd):
		in := cursor{p: b.Main}
		return fmt.Appendf(dst, "%s", segment.LSN(in.uint64())), in.check(c, b)
	case c.is(opCheckpointRedo) && v >= 17:
		in := cursor{p: b.Main}
		return fmt.Appendf(dst, "wal_level %s", WALLevel(in.int32())), in.check(c, b)
	}
	return dst, nil
}

func describeCheckpoint(dst []byte, v Version, c Record, b *Body) ([]byte, error) {
	var k Checkpoint
	err := k.Decode(v, c, b)
	dst = fmt.Appendf(dst, "redo %s; tli %d; prev tli %d; fpw %t; ", k.Redo, uint32(k.Timeline), uint32(k.Previous), k.FullPageWrites)
	if v >= 17 {
		dst = fmt.Appendf(dst, "wal_level %s; ", k.WALLevel)
	}
	dst = fmt.Appendf(dst, "xid %d:%d; oid %d; multi %d; offset %d; oldest xid %d in DB %d; oldest multi %d in DB %d; "+
		"oldest/newest commit timestamp xid: %d/%d; oldest running xid %d; ",
		k.NextXID>>32, uint32(k.NextXID), k.NextOID, k.NextMulti, k.NextOffset, k.OldestXID, k.OldestXIDDB,
		k.OldestMulti, k.OldestMultiDB, k.OldestCommitTS, k.NewestCommitTS, k.OldestActiveXID)
	if k.IsShutdown {
		return append(dst, "shutdown"...), err
	}
	return append(dst, "online"...), err
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func describeHeap(dst []byte, c Record, b *Body) ([]byte, error) {
	if IsTruncate(c) {
		var t Truncate
		err := t.Decode(c, b)
		if t.Flags&truncateCascade != 0 {
			dst = append(dst, "cascade "...)
		}
		if t.Flags&truncateRestartSeqs != 0 {
			dst = append(dst, "restart_seqs "...)
		}
		dst = fmt.Appendf(dst, "database %d, relids", t.Database)
		return appendXIDs(dst, t.Relations), err
	}
	if !IsRowChange(c) {
		return dst, nil
	}
	var r RowChange
	err := r.Decode(c, b)
	switch {
	case c.RMID == rmidHeap2:
		dst = fmt.Appendf(dst, "ntuples: %d, flags: 0x%02X", r.Rows, r.Flags)
	case r.Kind == Insert:
		dst = fmt.Appendf(dst, "off: %d, flags: 0x%02X", r.Offset, r.Flags)
	case r.Kind == Delete:
		dst = fmt.Appendf(dst, "xmax: %d, off: %d, flags: 0x%02X", r.XMax, r.Offset, r.Flags)
	default:
		dst = fmt.Appendf(dst, "old_xmax: %d, old_off: %d, flags: 0x%02X, new_off: %d", r.XMax, r.Offset, r.Flags, r.NewOffset)
	}
	switch {
	case r.IsSuper():
		dst = append(dst, ", speculative insert taken back"...)
	case r.IsPartitionMove():
		dst = append(dst, ", moves to another partition"...)
	}
	return dst, err
}

func describeStorage(dst []byte, v Version, c Record, b *Body) ([]byte, error) {
	switch {
	case IsFileChange(c):
		var f FileChange
		err := f.Decode(c, b)
		if f.IsTruncate {
			return fmt.Appendf(dst, "rel %s to %d blocks flags %d", f.Relation, f.Blocks, f.Flags), err
		}
		return fmt.Appendf(dst, "rel %s fork %s", f.Relation, f.Fork), err
	case IsDatabaseChange(v, c):
		return describeDatabase(dst, v, c, b)
	case IsMapChange(c):
		var m MapChange
		err := m.Decode(c, b)
		return fmt.Appendf(dst, "database %d tablespace %d size %d", m.Database, m.Tablespace, len(m.Map)), err
	}
	return dst, nil
}

func describeDatabase(dst []byte, v Version, c Record, b *Body) ([]byte, error) {
	var d DatabaseChange
	err := d.Decode(v, c, b)
	switch {
	case d.IsDrop:
		dst = append(dst, "dir"...)
	case d.Source != 0:
		dst = fmt.Appendf(dst, "copy dir %d/%d to", d.SourceTablespace, d.Source)
	default:
		dst = append(dst, "create dir"...)
	}
	for tablespace := range d.Tablespaces.All() {
		dst = fmt.Appendf(dst, " %d/%d", tablespace, d.Database)
	}
	return dst, err
}

// describeBlocks is XLogRecGetBlockRefInfo (access/rmgrdesc/xlogdesc.c).
func describeBlocks(dst []byte, b *Body) []byte {
	for i := range b.Blocks {
		k := &b.Blocks[i]
		dst = fmt.Appendf(dst, ", blkref #%d: rel %d/%d/%d", k.ID, k.Relation.Tablespace, k.Relation.Database, k.Relation.Relation)
		if k.Fork != ForkMain {
			dst = fmt.Appendf(dst, " fork %s", k.Fork)
		}
		dst = fmt.Appendf(dst, " blk %d", k.Number)
		switch {
		case k.HasImage && k.Image.Apply:
			dst = append(dst, " FPW"...)
		case k.HasImage:
			dst = append(dst, " FPW for WAL verification"...)
		}
	}
	return dst
}
