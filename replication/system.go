package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pglogrepl"

	"walkeep/segment"
)

// ErrNoHistory: the server has no history file for the timeline. So for timeline 1 always, and for ancestors
// whose file was removed.
var ErrNoHistory = errors.New("server has no history of the timeline")

// A System is what IDENTIFY_SYSTEM tells of a server (replication/walsender.c: IdentifySystem).
type System struct {
	ID       uint64           // system identifier
	Timeline segment.Timeline // on a standby: of the last replayed record
	Flush    segment.LSN      // end of flushed WAL; wherever the server happens to be, never a place to start
}

// Identify runs IDENTIFY_SYSTEM.
func (c *Conn) Identify(ctx context.Context) (System, error) {
	answer, err := pglogrepl.IdentifySystem(ctx, c.pg)
	if err != nil {
		return System{}, fmt.Errorf("identify system: %w", err)
	}
	id, err := strconv.ParseUint(answer.SystemID, 10, 64)
	if err != nil || id == 0 || answer.Timeline < 1 {
		return System{}, fmt.Errorf("identify system: the server says system identifier %q, timeline %d", answer.SystemID, answer.Timeline)
	}
	return System{ID: id, Timeline: segment.Timeline(answer.Timeline), Flush: segment.LSN(answer.XLogPos)}, nil
}

// parseTimeline parses a timeline of a result: int4 up to 15 (so large ones look negative), int8 from 16.
func parseTimeline(text []byte) (segment.Timeline, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n == 0 || n < -1<<31 || n > 1<<32-1 {
		return 0, fmt.Errorf("timeline %q is not a number from 1 to 4294967295", text)
	}
	return segment.Timeline(uint32(n)), nil
}

// SegmentSize returns wal_segment_size.
func (c *Conn) SegmentSize(ctx context.Context) (segment.Size, error) {
	text, err := c.Show(ctx, "wal_segment_size")
	if err != nil {
		return 0, err
	}
	return segment.ParseSize(text)
}

// InRecovery reports whether the server is a standby at this moment.
func (c *Conn) InRecovery(ctx context.Context) (bool, error) {
	// in_hot_standby exists from 14 on. Before, Connect has set default_transaction_read_only to off, and
	// only recovery makes transactions read-only.
	name := "in_hot_standby"
	if c.version < 140000 {
		name = "transaction_read_only"
	}
	text, err := c.Show(ctx, name)
	if err != nil {
		return false, err
	}
	return text == "on", nil
}

// WALSenderTimeout returns wal_sender_timeout as it applies to this connection; 0 is never.
func (c *Conn) WALSenderTimeout(ctx context.Context) (time.Duration, error) {
	text, err := c.Show(ctx, "wal_sender_timeout")
	if err != nil {
		return 0, err
	}
	d, err := ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("wal_sender_timeout: %w", err)
	}
	return d, nil
}

// ParseDuration parses a duration as SHOW prints it: "0", "500ms", "60s", "1min", "2h", "1d"
// (utils/misc/guc.c: convert_int_from_base_unit). "-1" gives -1: off.
func ParseDuration(s string) (time.Duration, error) {
	digits := s
	for len(digits) > 0 && (digits[len(digits)-1] < '0' || digits[len(digits)-1] > '9') {
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	units := map[string]time.Duration{
		"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	unit, ok := units[s[len(digits):]]
	switch {
	case ok && n >= 0:
		return time.Duration(n) * unit, nil
	case s == "0" || s == "-1":
		return time.Duration(n), nil
	}
	return 0, fmt.Errorf("%q is not a duration", s)
}

// History returns the history file of timeline t, byte for byte. ErrNoHistory if the server has none.
func (c *Conn) History(ctx context.Context, t segment.Timeline) ([]byte, error) {
	// In 13 the content column claims to be bytea, but holds the file's raw bytes in all versions
	// (walsender.c: SendTimeLineHistory).
	row, err := c.queryRow(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", uint32(t)), 2)
	if sqlState(err) == pgerrcode.UndefinedFile {
		return nil, fmt.Errorf("history of timeline %d: %w", t, ErrNoHistory)
	}
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", t, err)
	}
	if string(row[0]) != t.HistoryName() {
		return nil, fmt.Errorf("history of timeline %d: server sent file %q", t, row[0])
	}
	if len(row[1]) == 0 {
		return nil, fmt.Errorf("history of timeline %d: server sent an empty file", t)
	}
	return row[1], nil
}
