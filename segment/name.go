package segment

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a cluster's wal_segment_size in bytes: a power of two from 1 MiB to 1 GiB
// (access/xlog_internal.h: IsValidWalSegSize). Fixed at initdb.
type Size uint32

// Bounds of Size.
const (
	MinSize Size = 1 << 20
	MaxSize Size = 1 << 30
)

// NewSize checks that n bytes are a possible wal_segment_size.
func NewSize(n uint64) (Size, error) {
	if n < uint64(MinSize) || n > uint64(MaxSize) || n&(n-1) != 0 {
		return 0, fmt.Errorf("wal_segment_size of %d bytes is not a power of two from 1 MB to 1 GB", n)
	}
	return Size(n), nil
}

// ParseSize parses what SHOW wal_segment_size prints: "16MB", "1GB" (fe_utils streamutil.c:
// RetrieveWalSegSize).
func ParseSize(s string) (Size, error) {
	unit, digits := uint64(1), s
	if d, ok := strings.CutSuffix(s, "MB"); ok {
		unit, digits = 1<<20, d
	} else if d, ok := strings.CutSuffix(s, "GB"); ok {
		unit, digits = 1<<30, d
	} else {
		return 0, fmt.Errorf("wal_segment_size %q: want MB or GB", s)
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("wal_segment_size %q: not a number", s)
	}
	return NewSize(n * unit)
}

// Start returns the beginning of the segment that contains lsn.
func (s Size) Start(lsn LSN) LSN { return lsn &^ (LSN(s) - 1) }

// Offset returns how far lsn lies into its segment, in bytes.
func (s Size) Offset(lsn LSN) int { return int(lsn & (LSN(s) - 1)) }

// Number returns the number of the segment that contains lsn.
func (s Size) Number(lsn LSN) Number { return Number(uint64(lsn) / uint64(s)) }

// perLog is how many segments share the middle eight digits of a name: 4 GiB of WAL.
func (s Size) perLog() uint64 { return 1 << 32 / uint64(s) }

// Number counts segments from LSN 0 (access/xlogdefs.h: XLogSegNo). PostgreSQL never uses number 0.
type Number uint64

// Name is the identity of a segment file: timeline and number, for a cluster with segments of Size.
type Name struct {
	Timeline Timeline
	Number   Number
	Size     Size
}

// NameAt returns the name of the segment of timeline t that contains lsn.
func NameAt(t Timeline, lsn LSN, size Size) Name {
	return Name{Timeline: t, Number: size.Number(lsn), Size: size}
}

// ParseName parses a 24-digit WAL file name of a cluster with segments of size. Names that no such cluster
// can have (timeline 0, a segment beyond its log) are refused. IsWALFileName tells them from other names.
func ParseName(s string, size Size) (Name, error) {
	if !IsWALFileName(s) {
		return Name{}, fmt.Errorf("%q is not a WAL segment name: want 24 upper-case hexadecimal digits", s)
	}
	t, _ := parseHex(s[:8], 8, 8)
	log, _ := parseHex(s[8:16], 8, 8)
	seg, _ := parseHex(s[16:], 8, 8)
	if t == 0 {
		return Name{}, fmt.Errorf("WAL segment name %q: timeline 0 does not exist", s)
	}
	if seg >= size.perLog() {
		return Name{}, fmt.Errorf("WAL segment name %q does not exist with wal_segment_size %d MB", s, size>>20)
	}
	return Name{Timeline: Timeline(t), Number: Number(log*size.perLog() + seg), Size: size}, nil
}

// IsWALFileName reports whether s has the form of a segment name (access/xlog_internal.h: IsXLogFileName).
func IsWALFileName(s string) bool {
	return len(s) == 24 && isUpperHex(s)
}

// ParseHistoryName parses "00000002.history".
func ParseHistoryName(s string) (Timeline, error) {
	digits, ok := strings.CutSuffix(s, ".history")
	if !ok || len(digits) != 8 || !isUpperHex(digits) {
		return 0, fmt.Errorf("%q is not a timeline history file name", s)
	}
	t, err := parseHex(digits, 8, 8)
	if err != nil || t == 0 {
		return 0, fmt.Errorf("%q is not a timeline history file name", s)
	}
	return Timeline(t), nil
}

func isUpperHex(s string) bool {
	for _, c := range []byte(s) {
		if !isHex(c) || c >= 'a' {
			return false
		}
	}
	return true
}

// String returns the 24-digit file name (access/xlog_internal.h: XLogFileName).
func (n Name) String() string { return n.Timeline.String() + n.Log() + n.Segment() }

// Log returns the middle eight digits: which 4 GiB of WAL.
func (n Name) Log() string { return fmt.Sprintf("%08X", uint64(n.Number)/n.Size.perLog()) }

// Segment returns the last eight digits: which segment within its 4 GiB.
func (n Name) Segment() string { return fmt.Sprintf("%08X", uint64(n.Number)%n.Size.perLog()) }

// Start is the LSN of the segment's first byte.
func (n Name) Start() LSN { return LSN(uint64(n.Number) * uint64(n.Size)) }

// End is the LSN behind the segment's last byte.
func (n Name) End() LSN { return n.Start() + LSN(n.Size) }

// Next is the name of the following segment on the same timeline.
func (n Name) Next() Name {
	n.Number++
	return n
}
