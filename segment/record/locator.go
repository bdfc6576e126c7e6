package record

import (
	"fmt"
	"strconv"
	"strings"
)

// A Locator says which files hold a relation (storage/relfilelocator.h; RelFileNode before 16). Relation is the file's
// number, not the table's OID: a rewrite or TRUNCATE changes it.
type Locator struct {
	Tablespace, Database, Relation uint32
}

// String returns the form of pg_waldump: "1663/5/16384".
func (l Locator) String() string {
	return fmt.Sprintf("%d/%d/%d", l.Tablespace, l.Database, l.Relation)
}

// ParseLocator parses the form String writes.
func ParseLocator(s string) (Locator, error) {
	var part [3]uint32
	fields := strings.Split(s, "/")
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil || len(fields) != len(part) {
			return Locator{}, fmt.Errorf("relation %q is not of the form 1663/5/16384: tablespace, database and file number", s)
		}
		part[i] = uint32(n)
	}
	return Locator{part[0], part[1], part[2]}, nil
}

// MarshalText writes the form of String.
func (l Locator) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Fork is one of a relation's files (common/relpath.h: ForkNumber).
type Fork uint8

// The forks of a relation.
const (
	ForkMain Fork = iota
	ForkFreeSpace
	ForkVisibility
	ForkInit
)

// String returns PostgreSQL's name for it (common/relpath.c: forkNames).
func (f Fork) String() string {
	switch f {
	case ForkMain:
		return "main"
	case ForkFreeSpace:
		return "fsm"
	case ForkVisibility:
		return "vm"
	case ForkInit:
		return "init"
	}
	return strconv.Itoa(int(f))
}
