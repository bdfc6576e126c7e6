package backup

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/segment"
)

// stream is what a server sends for a backup: a *replication.BaseBackup.
type stream interface {
	Next() (replication.Archive, error)
	Read(p []byte) (int, error)
}

// receiver takes the archives of a backup apart while they arrive, compares them with the server's manifest, and passes
// their bytes on.
type receiver struct {
	out         *slicer
	tar         *tarReader
	progress    func(Progress)
	at          Progress
	unended     bool // archives come without their end marks: before PostgreSQL 15
	tablespaces []replication.Tablespace
	files       []*file
	manifest    pgManifest
}

func newReceiver(version int, tablespaces []replication.Tablespace, out *slicer, progress func(Progress)) *receiver {
	return &receiver{
		out: out, tar: newTarReader(), progress: progress, at: Progress{Total: total(tablespaces)},
		unended: version < 150000, tablespaces: tablespaces,
	}
}

// receive goes through the whole stream. nil only if the server has said that the backup is complete, and every file is
// what its manifest says.
func (r *receiver) receive(s stream) error {
	for {
		archive, err := s.Next()
		if errors.Is(err, io.EOF) {
			return r.complete()
		}
		if err != nil {
			return err
		}
		r.out.begin(archive.Name)
		tee := io.TeeReader(s, passOn{r})
		if archive.Name == replication.ManifestStream {
			err = r.readManifest(tee)
		} else {
			err = r.readArchive(tee, archive)
		}
		if errors.Is(err, errStopped) {
			return r.out.failure()
		}
		if err != nil {
			return err
		}
		f, err := r.out.end()
		if errors.Is(err, errStopped) {
			return r.out.failure()
		}
		if err != nil {
			return err
		}
		r.files = append(r.files, f)
	}
}

// passOn writes to the slicer and counts.
type passOn struct{ *receiver }

func (p passOn) Write(b []byte) (int, error) {
	p.at.Done += int64(len(b))
	p.progress(p.at)
	return p.out.Write(b)
}

// tarEnd is what a tar archive ends with.
var tarEnd [1024]byte

func (r *receiver) readArchive(in io.Reader, archive replication.Archive) error {
	prefix := ""
	if oid := archive.Tablespace.OID; oid != 0 {
		prefix = fmt.Sprintf("pg_tblspc/%d/", oid)
	}
	if err := r.tar.read(in, prefix); err != nil {
		return err
	}
	if r.unended {
		_, err := r.out.Write(tarEnd[:])
		return err
	}
	return nil
}

func (r *receiver) readManifest(in io.Reader) error {
	if err := r.tar.files.sort(); err != nil {
		return err
	}
	var err error
	r.manifest, err = readManifest(in, r.tar.files.match)
	return err
}

// complete is asked when the server says that the backup is complete.
func (r *receiver) complete() error {
	if n := r.tar.files.unlisted(); n > 0 {
		return fmt.Errorf("the server sent %d files that its manifest does not list", n)
	}
	return nil
}

// describe fills in what the stream has shown, after the slicer has finished, and compares what the server says of the
// backup in three places.
func (r *receiver) describe(b *catalog.Backup) error {
	for _, f := range r.files {
		b.Files = append(b.Files, f.description())
	}
	b.Tablespaces = []catalog.BackupSpace{}
	for _, t := range r.tablespaces {
		if t.OID != 0 {
			b.Tablespaces = append(b.Tablespaces, catalog.BackupSpace{OID: t.OID, Path: t.Location})
		}
	}
	b.DataFiles, b.DataBytes = len(r.tar.files.files), r.tar.files.bytes
	b.ManifestChecksum = r.manifest.Checksum
	if k := len(r.manifest.Ranges); k != 1 || r.manifest.Ranges[0] != (walRange{b.Timeline, b.Start, b.Stop}) {
		return fmt.Errorf("the server says the backup needs WAL %s to %s of timeline %d, its manifest says %v",
			b.Start, b.Stop, uint32(b.Timeline), r.manifest.Ranges)
	}
	label, err := parseLabel(string(r.tar.label))
	if err != nil {
		return err
	}
	if label.start != b.Start || label.from != string(b.Source) {
		return fmt.Errorf("the backup begins at %s on a %s, backup_label says at %s on a %s", b.Start, b.Source, label.start, label.from)
	}
	b.Checkpoint = label.checkpoint
	return nil
}

// label is what backup_label says (access/transam/xlogbackup.c: build_backup_content).
type label struct {
	start, checkpoint segment.LSN
	from              string // "primary" or "standby"; 13 says "master"
}

func parseLabel(content string) (label, error) {
	var l label
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		position, _, _ := strings.Cut(value, " ")
		var err error
		switch key {
		case "START WAL LOCATION":
			l.start, err = segment.ParseLSN(position)
		case "CHECKPOINT LOCATION":
			l.checkpoint, err = segment.ParseLSN(position)
		case "BACKUP FROM":
			l.from = strings.Replace(value, "master", "primary", 1)
		}
		if err != nil {
			return l, fmt.Errorf("backup_label: %w", err)
		}
	}
	if l.start == 0 || l.checkpoint == 0 || l.from == "" {
		return l, errors.New("the backup has no backup_label that says where recovery begins")
	}
	return l, nil
}

// explainChecksums puts the pages that the server warned of into the error that it ends such a backup with.
func explainChecksums(err error, warnings []string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != pgerrcode.DataCorrupted || len(warnings) == 0 {
		return err
	}
	return fmt.Errorf("the server found damaged pages in its data files: %s: restore them from an older backup, "+
		"then take a new one: %w", strings.Join(warnings, "; "), err)
}
