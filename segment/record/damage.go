package record

import (
	"fmt"

	"walkeep/segment"
)

// DamageError says that WAL is not what PostgreSQL can have written: where, and what was found there. WAL that
// merely ends within a record is no damage: see Reader.Pending.
type DamageError struct {
	// LSN is the start of the record or page that is wrong.
	LSN segment.LSN
	// Reason is what is wrong with it, for people.
	Reason string
}

// Error names position and reason.
func (e *DamageError) Error() string { return fmt.Sprintf("WAL damaged at %s: %s", e.LSN, e.Reason) }

// damaged makes the Reader stop, for good.
func (r *Reader) damaged(lsn segment.LSN, format string, args ...any) {
	r.err = &DamageError{LSN: lsn, Reason: fmt.Sprintf(format, args...)}
	r.data = nil
}
