package segment

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Timeline is a PostgreSQL timeline number, 1 or more (access/xlogdefs.h: TimeLineID).
type Timeline uint32

// String returns the eight upper-case hexadecimal digits that PostgreSQL uses in file names.
func (t Timeline) String() string { return fmt.Sprintf("%08X", uint32(t)) }

// HistoryName is the name of the timeline's history file, for example "00000002.history"
// (access/xlog_internal.h: TLHistoryFileName). Timeline 1 has none.
func (t Timeline) HistoryName() string { return t.String() + ".history" }

// Lineage is a timeline together with the history that led to it. Two promotions can produce the same
// timeline number with different histories; their lineages differ. The zero Lineage is invalid.
type Lineage struct {
	Timeline Timeline
	digest   uint32 // first 4 bytes of SHA-256 of the history file, big-endian; 0 for timeline 1
}

// NewLineage derives the lineage from a timeline and the content of its history file, byte for byte as
// the server sends it. Timeline 1 has no history: pass nil.
func NewLineage(t Timeline, history []byte) (Lineage, error) {
	if t == 0 {
		return Lineage{}, fmt.Errorf("timeline 0 does not exist")
	}
	if t == 1 {
		if len(history) != 0 {
			return Lineage{}, fmt.Errorf("timeline 1 can't have a history")
		}
		return Lineage{Timeline: 1}, nil
	}
	if len(history) == 0 {
		return Lineage{}, fmt.Errorf("timeline %d needs its history", t)
	}
	sum := sha256.Sum256(history)
	return Lineage{Timeline: t, digest: binary.BigEndian.Uint32(sum[:4])}, nil
}

// ParseLineage parses the form String writes.
func ParseLineage(s string) (Lineage, error) {
	if len(s) != 17 || s[8] != '-' {
		return Lineage{}, fmt.Errorf("lineage %q is not of the form 00000002-5f3a91c0", s)
	}
	t, err := parseHex(s[:8], 8, 8)
	if err != nil {
		return Lineage{}, fmt.Errorf("lineage %q: %w", s, err)
	}
	d, err := parseHex(s[9:], 8, 8)
	if err != nil {
		return Lineage{}, fmt.Errorf("lineage %q: %w", s, err)
	}
	l := Lineage{Timeline: Timeline(t), digest: uint32(d)}
	if t == 0 || t == 1 && d != 0 || l.String() != s {
		return Lineage{}, fmt.Errorf("lineage %q is not of the form 00000002-5f3a91c0", s)
	}
	return l, nil
}

// String returns timeline and digest, for example "00000002-5f3a91c0": upper-case timeline as in
// PostgreSQL's file names, lower-case digest.
func (l Lineage) String() string { return fmt.Sprintf("%s-%08x", l.Timeline, l.digest) }

// MarshalJSON writes the form of String.
func (l Lineage) MarshalJSON() ([]byte, error) { return json.Marshal(l.String()) }

// UnmarshalJSON reads the form of String.
func (l *Lineage) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := ParseLineage(s)
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Fork is one line of a history file: the ancestor timeline ended at Switch, where its child began.
type Fork struct {
	Timeline Timeline
	Switch   LSN
}

// ParseHistory reads a timeline history file (access/transam/timeline.c: readTimeLineHistory): lines
// "<parent timeline> <switch point> <reason>" in increasing timeline order, '#' comments and blank lines
// allowed.
func ParseHistory(history []byte) ([]Fork, error) {
	var forks []Fork
	scanner := bufio.NewScanner(bytes.NewReader(history))
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimLeft(scanner.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, fmt.Errorf("history line %d: want timeline and switch point", n)
		}
		t, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil || t == 0 {
			return nil, fmt.Errorf("history line %d: timeline %q", n, fields[0])
		}
		lsn, err := ParseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("history line %d: %w", n, err)
		}
		if k := len(forks); k > 0 && (forks[k-1].Timeline >= Timeline(t) || forks[k-1].Switch > lsn) {
			return nil, fmt.Errorf("history line %d: timelines and switch points must increase", n)
		}
		forks = append(forks, Fork{Timeline: Timeline(t), Switch: lsn})
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return forks, nil
}
