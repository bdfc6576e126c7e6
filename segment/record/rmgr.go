package record

import "fmt"

// Resource managers (access/rmgrlist.h), the same from 13 to 18.
const (
	rmidXLOG        = 0
	rmidTransaction = 1
	rmidStorage     = 2
	rmidDatabase    = 4
	rmidRelMap      = 7
	rmidHeap2       = 9
	rmidHeap        = 10
	rmidGeneric     = 20

	lastBuiltinRMID = 21  // RM_LOGICALMSG_ID
	firstCustomRMID = 128 // RM_MIN_CUSTOM_ID, from 15 on
)

var managerNames = [lastBuiltinRMID + 1]string{
	"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap", "Standby", "Heap2", "Heap",
	"Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage",
}

// BuiltinManagers is how many resource managers PostgreSQL has of its own: their ids are below it.
const BuiltinManagers = lastBuiltinRMID + 1

// FirstCustomManager is the lowest id that extensions use, from 15 on (access/rmgr.h: RM_MIN_CUSTOM_ID).
const FirstCustomManager = firstCustomRMID

// ManagerName is pg_waldump's name for a resource manager; "custom128" for those of extensions.
func ManagerName(rmid uint8) string {
	if int(rmid) < len(managerNames) {
		return managerNames[rmid]
	}
	return fmt.Sprintf("custom%03d", rmid)
}

// OpCode is the part of a record's info that names its operation: the upper four bits, of transactions three
// (access/xact.h: XLOG_XACT_OPMASK).
func OpCode(rmid, info uint8) uint8 {
	if rmid == rmidTransaction {
		return info & xactOpMask
	}
	return info & infoMask
}

// OpName is pg_waldump's name for an operation of a version; "UNKNOWN (f0)" for one it doesn't know and for those of
// extensions, whose names are in their libraries.
func OpName(v Version, rmid, info uint8) string {
	op := OpCode(rmid, info)
	if rmid == rmidGeneric {
		return "Generic"
	}
	if int(rmid) < len(operations) {
		for _, o := range operations[rmid] {
			if o.code == op && v >= o.from && (o.to == 0 || v <= o.to) {
				return o.name
			}
		}
	}
	return fmt.Sprintf("UNKNOWN (%x)", op)
}
