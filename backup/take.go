package backup

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/segment"
	"walkeep/storage"
)

// DefaultSliceSize is how many raw bytes a stored slice holds.
const DefaultSliceSize = 64 << 20

// Options say what backup to take. The zero value of each size and duration means its default.
type Options struct {
	Server   *replication.Config
	Store    storage.Store
	SystemID uint64               // if not 0, the only cluster to accept
	From     catalog.BackupSource // the kind of server; "" is a primary
	Backup   replication.BackupOptions
	WAL      WALSource

	SliceSize int           // raw bytes; default 64 MiB
	WALWait   time.Duration // how long to wait for WAL while none is archived; default 60 s
	Progress  func(Progress)
	Log       *slog.Logger
}

// WALSource says who archives the WAL that the backup needs.
type WALSource int

// Sources of WAL.
const (
	WALFromReceiver WALSource = iota // somebody else: walkeep receive
	WALFromBackup                    // we, as long as the backup takes, with a slot of our own
)

// Progress says how far the transfer is. Total is the server's estimate of when the backup began.
type Progress struct {
	Done, Total int64 // raw bytes
}

func (o *Options) setDefaults() {
	if o.From == "" {
		o.From = catalog.FromPrimary
	}
	if o.SliceSize == 0 {
		o.SliceSize = DefaultSliceSize
	}
	if o.WALWait == 0 {
		o.WALWait = time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
}

// ErrBusy: a backup is being taken already.
var ErrBusy = errors.New("a backup is being taken already")

// A Taker takes one backup at a time.
type Taker struct{ mu sync.Mutex }

// Take takes a base backup and returns its description when it exists in the repository. Errors: ErrBusy;
// *NotArchivedError when the backup was transferred but nobody archives the WAL that it needs. After any error there is no
// backup, only parts, which retention removes.
func (t *Taker) Take(ctx context.Context, o Options) (catalog.Backup, error) {
	if !t.mu.TryLock() {
		return catalog.Backup{}, ErrBusy
	}
	defer t.mu.Unlock()
	o.setDefaults()
	s, err := open(ctx, o)
	if err != nil {
		return catalog.Backup{}, err
	}
	var b catalog.Backup
	run := func(ctx context.Context) error {
		b, err = s.take(ctx)
		return err
	}
	if o.WAL == WALFromBackup {
		err = s.beside(ctx, run)
	} else {
		err = run(ctx)
	}
	return b, errors.Join(err, s.server.conn.Close(context.WithoutCancel(ctx)))
}

// take is Take while somebody archives WAL.
func (s *session) take(ctx context.Context) (catalog.Backup, error) {
	b, err := s.transfer(ctx)
	if err != nil {
		return catalog.Backup{}, err
	}
	if err := s.awaitWAL(ctx, b); err != nil {
		return catalog.Backup{}, err
	}
	if err := s.catalog.PutBackup(ctx, b); err != nil {
		return catalog.Backup{}, err
	}
	return s.catalog.Backup(ctx, b.ID)
}

// session is one backup being taken.
type session struct {
	options Options
	log     *slog.Logger
	server  server
	catalog *catalog.Catalog
}

// newID names a backup of the lineage that begins at start.
func newID(l segment.Lineage, start segment.LSN) (segment.BackupID, error) {
	var token [2]byte
	if _, err := rand.Read(token[:]); err != nil {
		return segment.BackupID{}, err
	}
	return segment.BackupID{Lineage: l, Start: start, Token: binary.BigEndian.Uint16(token[:])}, nil
}

// transfer takes the backup up to where only its WAL and its description are missing.
func (s *session) transfer(ctx context.Context) (b catalog.Backup, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now().UTC().Truncate(time.Microsecond)
	s.log.Info("asking for a base backup; the server makes a checkpoint first", "host", s.server.host.String(), "checkpoint", string(s.options.Backup.Checkpoint))
	stream, err := s.server.conn.BaseBackup(ctx, s.options.Backup)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	if stream.Timeline != s.server.lineage.Timeline {
		return b, fmt.Errorf("the server went from timeline %d to %d while the backup began: take it again",
			uint32(s.server.lineage.Timeline), uint32(stream.Timeline))
	}
	id, err := newID(s.server.lineage, stream.Start)
	if err != nil {
		return b, err
	}
	if err := s.catalog.BeginBackup(ctx, id, began); err != nil {
		return b, err
	}
	s.log.Info("base backup begins", "backup", id.String(), "lsn", stream.Start.String(), "size_bytes", total(stream.Tablespaces))
	slicer, err := newSlicer(ctx, s.catalog, id, s.options.SliceSize)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, slicer.close()) }()
	r := newReceiver(s.server.version, stream.Tablespaces, slicer, s.options.Progress)
	err = r.receive(stream)
	for _, w := range stream.Warnings() {
		s.log.Error("warning of the server", "warning", w)
	}
	if ctx.Err() != nil {
		return b, context.Cause(ctx)
	}
	if err != nil {
		return b, explainChecksums(err, stream.Warnings())
	}
	if err := slicer.finish(); err != nil {
		return b, err
	}
	b = catalog.Backup{
		ID: id, ServerVersion: s.server.version, Label: s.options.Backup.Label, Source: s.server.source,
		Started: began, Finished: time.Now().UTC().Truncate(time.Microsecond),
		Timeline: stream.Timeline, Start: stream.Start, Stop: stream.Stop(),
		SliceSize: int64(s.options.SliceSize), Settings: s.server.settings, SettingsComplete: s.server.settingsComplete,
		DataChecksums: s.server.settings["data_checksums"] == "on", ConfigOutside: s.server.configOutside(),
	}
	return b, r.describe(&b)
}

// total is the server's estimate of all archives.
func total(tablespaces []replication.Tablespace) int64 {
	var n int64
	for _, t := range tablespaces {
		n += t.Size
	}
	return n
}
