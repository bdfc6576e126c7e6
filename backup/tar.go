package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// castagnoli is the polynomial of PostgreSQL's CRC32C (port/pg_crc32c.h).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// labelName is the file that says where recovery begins, the first in base.tar.
const labelName = "backup_label"

// maxLabelFile bounds backup_label, which has ten lines, one with a label of up to 1 kB.
const maxLabelFile = 8 << 10

// A tarReader goes through the archives of a backup and keeps the size and checksum of each file.
type tarReader struct {
	files *fileSet
	label []byte // content of backup_label
	copy  []byte // buffer
}

func newTarReader() *tarReader {
	return &tarReader{files: &fileSet{}, copy: make([]byte, 128<<10)}
}

// read goes through one archive to its last byte. prefix is the path of its members in the data directory: "" or
// "pg_tblspc/<oid>/".
func (t *tarReader) read(r io.Reader, prefix string) error {
	members := tar.NewReader(r)
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := t.member(h, members, prefix); err != nil {
			return err
		}
	}
	if _, err := io.CopyBuffer(io.Discard, onlyReader{r}, t.copy); err != nil {
		return fmt.Errorf("read archive: %w", err)
	}
	return nil
}

// onlyReader hides other methods than Read, so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

func (t *tarReader) member(h *tar.Header, content io.Reader, prefix string) error {
	name, err := memberName(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
	default:
		return fmt.Errorf("the server sent %q, which is neither file nor directory (type %q): refused", h.Name, h.Typeflag)
	}
	sum := crc32.New(castagnoli)
	var to io.Writer = sum
	if prefix == "" && name == labelName {
		if h.Size > maxLabelFile {
			return fmt.Errorf("%s has %d bytes", name, h.Size)
		}
		to = io.MultiWriter(sum, (*appendWriter)(&t.label))
	}
	if _, err := io.CopyBuffer(to, onlyReader{content}, t.copy); err != nil {
		return fmt.Errorf("read %s%s: %w", prefix, name, err)
	}
	t.files.add(prefix+name, h.Size, sum.Sum32())
	return nil
}

type appendWriter []byte

func (a *appendWriter) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// memberName refuses names that lead out of the directory they are unpacked to.
func memberName(name string) (string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/") // "./pg_wal/archive_status" comes so
	if clean == "" || strings.ContainsRune(clean, 0) {
		return "", fmt.Errorf("the server sent a file named %q: refused", name)
	}
	for element := range strings.SplitSeq(clean, "/") {
		if element == "" || element == "." || element == ".." {
			return "", fmt.Errorf("the server sent a file named %q, which leads out of the data directory: refused", name)
		}
	}
	return clean, nil
}
