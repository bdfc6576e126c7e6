package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"

	"walkeep/segment"
)

// Sentinels of the slot commands.
var (
	// ErrSlotExists: the name is taken, by a slot of whatever kind.
	ErrSlotExists = errors.New("replication slot exists")
	// ErrSlotMissing: there is no such slot.
	ErrSlotMissing = errors.New("replication slot does not exist")
	// ErrSlotLogical: the name belongs to a logical slot.
	ErrSlotLogical = errors.New("the replication slot is a logical one: choose another name with --slot")
	// ErrUnsupported: the server's version doesn't have the command.
	ErrUnsupported = errors.New("not supported by this version of PostgreSQL")
)

// readSlotVersion is the first to have READ_REPLICATION_SLOT.
const readSlotVersion = 150000

// ValidateSlotName checks a name against PostgreSQL's rule: 1 to 63 lower-case letters, digits and underscores
// (replication/slot.c: ReplicationSlotValidateName).
func ValidateSlotName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
	}
	if !ok {
		return fmt.Errorf("slot name %q: want 1 to 63 lower-case letters, digits and underscores", name)
	}
	return nil
}

// A Slot is what READ_REPLICATION_SLOT tells of a physical slot.
type Slot struct {
	Name   string
	Exists bool
	// RestartLSN is zero for a slot that never reserved WAL or was invalidated.
	RestartLSN segment.LSN
	// RestartTimeline is computed by the server from its own history; not the timeline we archived from.
	RestartTimeline segment.Timeline
}

// CreateSlot creates a physical slot that retains WAL from the last checkpoint's redo point on. It doesn't
// tell from where: read the slot afterwards. ErrSlotExists if the name is taken.
func (c *Conn) CreateSlot(ctx context.Context, name string) error {
	if err := ValidateSlotName(name); err != nil {
		return err
	}
	_, err := query(ctx, c.pg, "CREATE_REPLICATION_SLOT "+quoteName(name)+" PHYSICAL RESERVE_WAL")
	if sqlState(err) == pgerrcode.DuplicateObject {
		err = ErrSlotExists
	}
	if err != nil {
		return fmt.Errorf("create slot %s: %w", name, err)
	}
	return nil
}

// ReadSlot reads a physical slot. ErrUnsupported before PostgreSQL 15 (SQL.Slots tells more, on all versions);
// ErrSlotLogical if the slot is a logical one.
func (c *Conn) ReadSlot(ctx context.Context, name string) (Slot, error) {
	if err := ValidateSlotName(name); err != nil {
		return Slot{}, err
	}
	if c.version < readSlotVersion {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, ErrUnsupported)
	}
	row, err := c.queryRow(ctx, "READ_REPLICATION_SLOT "+quoteName(name), 3)
	if sqlState(err) == pgerrcode.FeatureNotSupported {
		err = ErrSlotLogical
	}
	if err != nil {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	slot, err := parseSlot(name, row)
	if err != nil {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	return slot, nil
}

// parseSlot reads slot_type, restart_lsn, restart_tli: all NULL if there is no slot, the last two if it holds
// no WAL.
func parseSlot(name string, row [][]byte) (Slot, error) {
	slot := Slot{Name: name, Exists: row[0] != nil}
	if !slot.Exists || row[1] == nil {
		return slot, nil
	}
	lsn, err := segment.ParseLSN(string(row[1]))
	if err != nil {
		return Slot{}, err
	}
	slot.RestartLSN = lsn
	if row[2] != nil {
		if slot.RestartTimeline, err = parseTimeline(row[2]); err != nil {
			return Slot{}, err
		}
	}
	return slot, nil
}

// DropSlot drops a slot that nobody uses: an active one gives an error of ClassSlotActive. ErrSlotMissing if
// there is none.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	if err := ValidateSlotName(name); err != nil {
		return err
	}
	_, err := query(ctx, c.pg, "DROP_REPLICATION_SLOT "+quoteName(name))
	if sqlState(err) == pgerrcode.UndefinedObject {
		err = ErrSlotMissing
	}
	if err != nil {
		return fmt.Errorf("drop slot %s: %w", name, err)
	}
	return nil
}
