package record

import (
	"encoding/binary"
	"time"
)

// Facts of transaction records (access/xact.h, access/xlogrecord.h).
const (
	rmidTransaction    = 1    // RM_XACT_ID
	xactOpMask         = 0x70 // XLOG_XACT_OPMASK
	xactCommit         = 0x00
	xactCommitPrepared = 0x30

	blockIDOrigin      = 253 // XLR_BLOCK_ID_ORIGIN: u16
	blockIDTopLevelXID = 252 // XLR_BLOCK_ID_TOPLEVEL_XID: u32
	blockIDDataShort   = 255 // XLR_BLOCK_ID_DATA_SHORT: u8 length
	blockIDDataLong    = 254 // XLR_BLOCK_ID_DATA_LONG: u32 length
)

// epoch is what PostgreSQL counts microseconds from (datatype/timestamp.h: POSTGRES_EPOCH_JDATE).
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// CommitTime reports whether a record is a commit, of a prepared transaction or another, and when it was made by the
// server's clock. prefix is Reader.Prefix of the record. at is zero if the record is shaped as none that we know.
func CommitTime(c Record, prefix []byte) (at time.Time, ok bool) {
	if op := c.Info & xactOpMask; c.RMID != rmidTransaction || op != xactCommit && op != xactCommitPrepared {
		return time.Time{}, false
	}
	data := mainData(prefix)
	if len(data) < 8 {
		return time.Time{}, true
	}
	micros := int64(binary.LittleEndian.Uint64(data)) // xl_xact_commit begins with xact_time
	return epoch.Add(time.Duration(micros) * time.Microsecond), true
}

// mainData returns what prefix holds of a record's main data, for a record without blocks; nil for others.
func mainData(prefix []byte) []byte {
	for len(prefix) > 0 {
		skip := 0
		switch prefix[0] {
		case blockIDOrigin:
			skip = 1 + 2
		case blockIDTopLevelXID:
			skip = 1 + 4
		case blockIDDataShort:
			return prefix[min(2, len(prefix)):]
		case blockIDDataLong:
			return prefix[min(5, len(prefix)):]
		default:
			return nil
		}
		prefix = prefix[min(skip, len(prefix)):]
	}
	return nil
}
