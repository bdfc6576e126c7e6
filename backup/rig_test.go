package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a stream that was made up.
type scripted struct {
	archives []scriptedArchive
	current  io.Reader
	end      error // in place of io.EOF
}

type scriptedArchive struct {
	replication.Archive
	content []byte
}

func (s *scripted) Next() (replication.Archive, error) {
	if len(s.archives) == 0 {
		if s.end != nil {
			return replication.Archive{}, s.end
		}
		return replication.Archive{}, io.EOF
	}
	a := s.archives[0]
	s.archives, s.current = s.archives[1:], bytes.NewReader(a.content)
	return a.Archive, nil
}

func (s *scripted) Read(p []byte) (int, error) { return s.current.Read(p) }

// cluster is made of files; it renders what a server sends of it.
type cluster struct {
	base, space []member
	listed      []member // in the manifest; nil: all, as they are
}

type member struct {
	name    string
	content []byte
	kind    byte // 0 is a file
}

const testLabel = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-01 00:00:00 UTC
LABEL: test
START TIMELINE: 1
`

func newCluster() *cluster {
	big := make([]byte, 300_000)
	for i := range big {
		big[i] = byte(i / 7 * i)
	}
	return &cluster{
		base: []member{
			{name: "backup_label", content: []byte(testLabel)},
			{name: "global/", kind: tar.TypeDir},
			{name: "./pg_wal/archive_status/", kind: tar.TypeDir},
			{name: "base/1/1259", content: big},
			{name: "base/1/empty"},
			{name: "global/pg_control", content: []byte("control")},
		},
		space: []member{{name: "PG_15_202209061/5/16400", content: []byte("aside")}},
	}
}

func archive(t testing.TB, members []member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Size: int64(len(m.content)), Mode: 0o600, Typeflag: m.kind, Format: tar.FormatUSTAR}
		if m.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if m.kind == tar.TypeSymlink {
			h.Linkname = "/etc/passwd"
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write(m.content)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// manifest renders PostgreSQL's (backup/backup_manifest.c).
func manifest(listed []member) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [")
	separator := "\n"
	for _, m := range listed {
		var crc [4]byte
		binary.LittleEndian.PutUint32(crc[:], crc32.Checksum(m.content, castagnoli))
		fmt.Fprintf(&b, "%s{ \"Path\": %q, \"Size\": %d, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"%s\" }",
			separator, m.name, len(m.content), hex.EncodeToString(crc[:]))
		separator = ",\n"
	}
	fmt.Fprintf(&b, "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000138\" }\n],\n")
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "\"Manifest-Checksum\": \"%s\"}\n", hex.EncodeToString(sum[:]))
	return b.Bytes()
}

var testSpaces = []replication.Tablespace{{OID: 16391, Location: "/srv/a space"}, {}}

// stream renders what the server sends.
func (c *cluster) stream(t testing.TB) *scripted {
	t.Helper()
	listed := c.listed
	if listed == nil {
		for _, m := range c.base {
			if m.kind == 0 {
				listed = append(listed, m)
			}
		}
		for _, m := range c.space {
			listed = append(listed, member{name: "pg_tblspc/16391/" + m.name, content: m.content})
		}
	}
	return &scripted{archives: []scriptedArchive{
		{replication.Archive{Name: "16391.tar", Tablespace: testSpaces[0]}, archive(t, c.space)},
		{replication.Archive{Name: "base.tar"}, archive(t, c.base)},
		{replication.Archive{Name: "backup_manifest"}, manifest(listed)},
	}}
}

// testSlice is small, so that files have several.
const testSlice = 64 << 10

var testID = segment.BackupID{Lineage: segment.Lineage{Timeline: 1}, Start: 0x2000028, Token: 0x1a2b}

func newCatalog(t testing.TB, store storage.Store) *catalog.Catalog {
	t.Helper()
	c, _, err := catalog.Create(t.Context(), store, 42, 16<<20, time.Now())
	must(t, err)
	return c
}

// take receives a stream as Take does, into store, and returns its description.
func take(t testing.TB, store storage.Store, version int, s stream) (b catalog.Backup, err error) {
	t.Helper()
	c := newCatalog(t, store)
	out, err := newSlicer(t.Context(), c, testID, testSlice)
	must(t, err)
	defer func() { must(t, out.close()) }()
	r := newReceiver(version, testSpaces, out, func(Progress) {})
	if err := r.receive(s); err != nil {
		return b, err
	}
	if err := out.finish(); err != nil {
		return b, err
	}
	b = catalog.Backup{
		ID: testID, Timeline: 1, Start: 0x2000028, Stop: 0x2000138, SliceSize: testSlice, Source: catalog.FromPrimary,
	}
	if err := r.describe(&b); err != nil {
		return b, err
	}
	if err := c.PutBackup(t.Context(), b); err != nil {
		return b, err
	}
	return c.Backup(t.Context(), testID)
}

func newStore() *storagetest.Memory { return storagetest.NewMemory() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
