package segment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Statement says in clear what a stored object holds: the bytes [From, To) of one lineage of one cluster.
// It stands in front of the encoded bytes in a skippable frame, which stock lz4 and zstd ignore.
// docs/FORMAT.md specifies it byte for byte.
type Statement struct {
	SystemID uint64
	Lineage  Lineage
	From, To LSN
	Hash     uint64 // XXH64, seed 0, of the raw bytes
}

// Layout of the statement's frame. All integers are little-endian.
const (
	statementFrameMagic = 0x184D2A57 // one of LZ4's and Zstandard's sixteen skippable frame magics
	statementVersion    = 1
	statementPayload    = 56
	// StatementSize is how many bytes Append adds.
	StatementSize = 8 + statementPayload
)

var statementMark = [7]byte{'w', 'a', 'l', 'k', 'e', 'e', 'p'}

// ErrNoStatement: the object does not begin with a statement of a version we know, or the statement is
// damaged.
var ErrNoStatement = errors.New("object does not begin with a valid walkeep statement")

// NewStatement states that raw are the bytes of the lineage that begin at from.
func NewStatement(systemID uint64, lineage Lineage, from LSN, raw []byte) Statement {
	return Statement{
		SystemID: systemID, Lineage: lineage,
		From: from, To: from + LSN(len(raw)), Hash: xxhash.Sum64(raw),
	}
}

// Append appends the skippable frame to dst.
func (s Statement) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, statementFrameMagic)
	dst = le.AppendUint32(dst, statementPayload)
	start := len(dst)
	dst = append(dst, statementMark[:]...)
	dst = append(dst, statementVersion)
	dst = le.AppendUint64(dst, s.SystemID)
	dst = le.AppendUint32(dst, uint32(s.Lineage.Timeline))
	dst = le.AppendUint32(dst, s.Lineage.digest)
	dst = le.AppendUint64(dst, uint64(s.From))
	dst = le.AppendUint64(dst, uint64(s.To))
	dst = le.AppendUint64(dst, s.Hash)
	return le.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

// ParseStatement reads the statement at the beginning of a stored object and returns the encoded bytes
// behind it, which alias object.
func ParseStatement(object []byte) (Statement, []byte, error) {
	le := binary.LittleEndian
	if len(object) < StatementSize || le.Uint32(object) != statementFrameMagic ||
		le.Uint32(object[4:]) != statementPayload {
		return Statement{}, nil, ErrNoStatement
	}
	p := object[8:StatementSize]
	if [7]byte(p) != statementMark || p[7] != statementVersion ||
		le.Uint64(p[48:]) != xxhash.Sum64(p[:48]) {
		return Statement{}, nil, ErrNoStatement
	}
	s := Statement{
		SystemID: le.Uint64(p[8:]),
		Lineage:  Lineage{Timeline: Timeline(le.Uint32(p[16:])), digest: le.Uint32(p[20:])},
		From:     LSN(le.Uint64(p[24:])),
		To:       LSN(le.Uint64(p[32:])),
		Hash:     le.Uint64(p[40:]),
	}
	if s.Lineage.Timeline == 0 || s.To < s.From || s.To-s.From > LSN(MaxSize) {
		return Statement{}, nil, ErrNoStatement
	}
	return s, object[StatementSize:], nil
}

// Len is how many raw bytes the statement covers.
func (s Statement) Len() int { return int(s.To - s.From) }

// String is for people: "00000001-00000000 [0/1000000, 0/2000000)".
func (s Statement) String() string {
	return fmt.Sprintf("%s [%s, %s) of system %d, hash %016x", s.Lineage, s.From, s.To, s.SystemID, s.Hash)
}
