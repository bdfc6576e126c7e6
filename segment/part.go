package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Part says in clear what a stored slice of a base backup holds: Length bytes of one of its files, from Offset on. Like a
// Statement it stands in front of the encoded bytes in a skippable frame. docs/FORMAT.md specifies it byte for byte.
type Part struct {
	SystemID uint64
	Backup   BackupID
	File     string // "base.tar", "16391.tar", "backup_manifest": up to 16 bytes
	Offset   int64
	Length   int
	Hash     uint64 // XXH64, seed 0, of the raw bytes
}

// MaxSlice is the most raw bytes that one part holds.
const MaxSlice = 1 << 30

const (
	partVersion  = 2 // in the place of a Statement's version
	partPayload  = 88
	partFileSize = 16
	// PartSize is how many bytes Part.Append adds.
	PartSize = 8 + partPayload
)

// NewPart states that raw are the bytes of the backup's file that begin at offset.
func NewPart(systemID uint64, backup BackupID, file string, offset int64, raw []byte) Part {
	return Part{
		SystemID: systemID, Backup: backup, File: file, Offset: offset, Length: len(raw), Hash: xxhash.Sum64(raw),
	}
}

// MaxEncodedPart is the most bytes that encoding a slice of n raw bytes can take, the statement included.
func MaxEncodedPart(n int) int { return MaxEncoded(n) - StatementSize + PartSize }

// Append appends the skippable frame to dst. A file name longer than 16 bytes is a programmer's error.
func (p Part) Append(dst []byte) []byte {
	if len(p.File) > partFileSize {
		panic(fmt.Sprintf("segment: file name %q in a part", p.File))
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, statementFrameMagic)
	dst = le.AppendUint32(dst, partPayload)
	start := len(dst)
	dst = append(dst, statementMark[:]...)
	dst = append(dst, partVersion)
	dst = le.AppendUint64(dst, p.SystemID)
	dst = le.AppendUint32(dst, uint32(p.Backup.Lineage.Timeline))
	dst = le.AppendUint32(dst, p.Backup.Lineage.digest)
	dst = le.AppendUint64(dst, uint64(p.Backup.Start))
	dst = le.AppendUint64(dst, uint64(p.Backup.Token))
	var file [partFileSize]byte
	copy(file[:], p.File)
	dst = append(dst, file[:]...)
	dst = le.AppendUint64(dst, uint64(p.Offset))
	dst = le.AppendUint64(dst, uint64(p.Length))
	dst = le.AppendUint64(dst, p.Hash)
	return le.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

// ParsePart reads the statement at the beginning of a stored slice and returns the encoded bytes behind it, which alias
// object.
func ParsePart(object []byte) (Part, []byte, error) {
	le := binary.LittleEndian
	if len(object) < PartSize || le.Uint32(object) != statementFrameMagic || le.Uint32(object[4:]) != partPayload {
		return Part{}, nil, ErrNoStatement
	}
	b := object[8:PartSize]
	if [7]byte(b) != statementMark || b[7] != partVersion || le.Uint64(b[80:]) != xxhash.Sum64(b[:80]) {
		return Part{}, nil, ErrNoStatement
	}
	token, offset, length := le.Uint64(b[32:]), le.Uint64(b[56:]), le.Uint64(b[64:])
	p := Part{
		SystemID: le.Uint64(b[8:]),
		Backup: BackupID{
			Lineage: Lineage{Timeline: Timeline(le.Uint32(b[16:])), digest: le.Uint32(b[20:])},
			Start:   LSN(le.Uint64(b[24:])),
			Token:   uint16(token),
		},
		File:   string(bytes.TrimRight(b[40:56], "\x00")),
		Offset: int64(offset), Length: int(length),
		Hash: le.Uint64(b[72:]),
	}
	if p.Backup.Lineage.Timeline == 0 || token > 1<<16-1 || p.File == "" || p.Offset < 0 || length > MaxSlice {
		return Part{}, nil, ErrNoStatement
	}
	return p, object[PartSize:], nil
}

// String is for people.
func (p Part) String() string {
	return fmt.Sprintf("%d bytes from %d on of %s of backup %s, hash %016x", p.Length, p.Offset, p.File, p.Backup, p.Hash)
}

// EncodePart appends to dst the object that holds raw as stated: NewPart of the same bytes. It only reads raw. If dst has
// MaxEncodedPart(len(raw)) bytes free, it is not reallocated.
func (e *Encoder) EncodePart(dst []byte, part Part, raw []byte) ([]byte, error) {
	if part.Length != len(raw) {
		return dst, fmt.Errorf("encode %s: have %d bytes", part, len(raw))
	}
	out, err := e.compress(part.Append(dst), raw)
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", part, err)
	}
	return out, nil
}

// DecodePart appends to dst the raw bytes that object holds, checked as Decode does. On error dst is returned as it was.
func DecodePart(dst, object []byte) ([]byte, Part, error) {
	part, encoded, err := ParsePart(object)
	if err != nil {
		return dst, Part{}, err
	}
	out, err := decompress(dst, encoded, part.Length, part.Hash)
	if err != nil {
		return dst, part, fmt.Errorf("%w: %s: %w", ErrDamaged, part, err)
	}
	return out, part, nil
}
