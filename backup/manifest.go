package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"walkeep/segment"
)

// pgManifest is what PostgreSQL's backup_manifest says beside its list of files (backup/backup_manifest.c).
type pgManifest struct {
	Version  int
	SystemID string // "" before 17
	Ranges   []walRange
	Checksum string // SHA-256 of all lines but the last, hex
	Files    int
}

type walRange struct {
	Timeline segment.Timeline `json:"Timeline"`
	Start    segment.LSN      `json:"Start-LSN"`
	End      segment.LSN      `json:"End-LSN"`
}

// manifestFile is one element of its list.
type manifestFile struct {
	Path      *string `json:"Path"`
	Encoded   *string `json:"Encoded-Path"` // hex, for names that are not UTF-8
	Size      int64   `json:"Size"`
	Algorithm string  `json:"Checksum-Algorithm"`
	Checksum  string  `json:"Checksum"`
}

func (f manifestFile) path() (string, error) {
	switch {
	case f.Path != nil:
		return *f.Path, nil
	case f.Encoded != nil:
		p, err := hex.DecodeString(*f.Encoded)
		return string(p), err
	}
	return "", errors.New("a file without a path")
}

// crc reads the checksum: the four bytes of the CRC as they lie in memory on a little-endian machine.
func (f manifestFile) crc() (uint32, error) {
	b, err := hex.DecodeString(f.Checksum)
	if err != nil || len(b) != 4 || f.Algorithm != "CRC32C" {
		return 0, fmt.Errorf("a checksum %s %q, want CRC32C", f.Algorithm, f.Checksum)
	}
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24, nil
}

// readManifest reads backup_manifest to its last byte and gives every file of its list to match.
func readManifest(r io.Reader, match func(path string, size int64, crc uint32) error) (pgManifest, error) {
	sum := &lineHash{hash: sha256.New()}
	tee := io.TeeReader(r, sum)
	m, err := decodeManifest(json.NewDecoder(tee), match)
	if err != nil {
		return m, err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return m, fmt.Errorf("backup_manifest: %w", err)
	}
	if got := hex.EncodeToString(sum.hash.Sum(nil)); got != m.Checksum {
		return m, fmt.Errorf("backup_manifest arrived damaged: its SHA-256 is %s, it says %s", got, m.Checksum)
	}
	return m, nil
}

func decodeManifest(d *json.Decoder, match func(path string, size int64, crc uint32) error) (pgManifest, error) {
	var m pgManifest
	if err := delimiter(d, '{'); err != nil {
		return m, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return m, fmt.Errorf("backup_manifest: %w", err)
		}
		switch key {
		case "PostgreSQL-Backup-Manifest-Version":
			err = d.Decode(&m.Version)
		case "System-Identifier":
			var n json.Number
			err = d.Decode(&n)
			m.SystemID = n.String()
		case "Files":
			m.Files, err = decodeFiles(d, match)
		case "WAL-Ranges":
			err = d.Decode(&m.Ranges)
		case "Manifest-Checksum":
			err = d.Decode(&m.Checksum)
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return m, fmt.Errorf("backup_manifest: %w", err)
		}
	}
	return m, delimiter(d, '}')
}

func decodeFiles(d *json.Decoder, match func(path string, size int64, crc uint32) error) (int, error) {
	if err := delimiter(d, '['); err != nil {
		return 0, err
	}
	n := 0
	for ; d.More(); n++ {
		var f manifestFile
		if err := d.Decode(&f); err != nil {
			return n, err
		}
		path, err := f.path()
		if err != nil {
			return n, err
		}
		crc, err := f.crc()
		if err != nil {
			return n, fmt.Errorf("file %q has %w", path, err)
		}
		if err := match(path, f.Size, crc); err != nil {
			return n, err
		}
	}
	return n, delimiter(d, ']')
}

func delimiter(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("backup_manifest: %w", err)
	}
	if token != want {
		return fmt.Errorf("backup_manifest: %v where %q belongs", token, want)
	}
	return nil
}

// lineHash hashes all that is written but the last line.
type lineHash struct {
	hash hash.Hash
	last []byte // the last line, whole or not
}

// maxManifestLine is more than a path of PostgreSQL's longest length takes, encoded.
const maxManifestLine = 64 << 10

func (l *lineHash) Write(p []byte) (int, error) {
	l.last = append(l.last, p...)
	if end := bytes.LastIndexByte(l.last[:max(0, len(l.last)-1)], '\n') + 1; end > 0 {
		l.hash.Write(l.last[:end])
		l.last = append(l.last[:0], l.last[end:]...)
	}
	if len(l.last) > maxManifestLine {
		return 0, errors.New("backup_manifest: a line too long")
	}
	return len(p), nil
}
