package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// A CheckpointMode says how the server makes the checkpoint that a base backup begins with.
type CheckpointMode string

// Modes of checkpoints.
const (
	CheckpointFast   CheckpointMode = "fast"   // at once, as fast as the disks go
	CheckpointSpread CheckpointMode = "spread" // gently, within checkpoint_timeout x checkpoint_completion_target
)

// Limits of BackupOptions.MaxRate in kB/s (backup/basebackup.h: MAX_RATE_LOWER, MAX_RATE_UPPER).
const (
	MinBackupRate = 32
	MaxBackupRate = 1 << 20
)

// BackupOptions say how the server sends a base backup.
type BackupOptions struct {
	Label      string
	Checkpoint CheckpointMode
	MaxRate    int // kB/s, from MinBackupRate to MaxBackupRate; 0: as fast as it goes
}

// maxLabel is the longest label that the server takes (access/transam/xlog.c: MAXPGPATH).
const maxLabel = 1023

func (o BackupOptions) check() error {
	switch {
	case len(o.Label) > maxLabel || strings.ContainsFunc(o.Label, func(r rune) bool { return r < ' ' }):
		return fmt.Errorf("label %q: want up to %d bytes on one line", o.Label, maxLabel)
	case o.Checkpoint != CheckpointFast && o.Checkpoint != CheckpointSpread:
		return fmt.Errorf("checkpoint %q: want fast or spread", o.Checkpoint)
	case o.MaxRate != 0 && (o.MaxRate < MinBackupRate || o.MaxRate > MaxBackupRate):
		return fmt.Errorf("rate of %d kB/s: want %d to %d", o.MaxRate, MinBackupRate, MaxBackupRate)
	}
	return nil
}

// command spells BASE_BACKUP: words up to 14 (replication/repl_gram.y), options in parentheses from 15 on
// (backup/basebackup.c: parse_basebackup_options). The server never waits for its own archive_command.
func (o BackupOptions) command(version int) string {
	label := "LABEL '" + strings.ReplaceAll(o.Label, "'", "''") + "'"
	words := []string{label, "PROGRESS", "TABLESPACE_MAP", "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"}
	if o.MaxRate != 0 {
		words = append(words, fmt.Sprintf("MAX_RATE %d", o.MaxRate))
	}
	if version >= 150000 {
		words = append(words, fmt.Sprintf("CHECKPOINT '%s'", o.Checkpoint), "WAIT 0")
		return "BASE_BACKUP ( " + strings.Join(words, ", ") + " )"
	}
	if o.Checkpoint == CheckpointFast {
		words = append(words, "FAST")
	}
	return "BASE_BACKUP " + strings.Join(append(words, "NOWAIT"), " ")
}

// A Tablespace is one that the server backs up into an archive of its own.
type Tablespace struct {
	OID      uint32 // 0: the data directory
	Location string // on the server; "" for the data directory
	Size     int64  // bytes, as estimated by the server when the backup began
}

// Archive is the name under which its files are sent.
func (t Tablespace) Archive() string {
	if t.OID == 0 {
		return BaseArchive
	}
	return fmt.Sprintf("%d.tar", t.OID)
}

// Names of what a base backup sends beside one archive per tablespace.
const (
	BaseArchive    = "base.tar"        // the data directory
	ManifestStream = "backup_manifest" // always last
)

// An Archive is one tar stream of a base backup, or its manifest.
type Archive struct {
	Name       string     // BaseArchive, "<oid>.tar" or ManifestStream
	Tablespace Tablespace // zero for ManifestStream
}

// A BaseBackup is one running BASE_BACKUP. Next and Read go through what the server sends, as with a tar.Reader; both are
// for one goroutine. The backup is good only when Next has returned io.EOF.
type BaseBackup struct {
	Start       segment.LSN // where recovery begins
	Timeline    segment.Timeline
	Tablespaces []Tablespace // in the order in which they are sent

	wire      *wire
	unwatch   func() bool
	framed    bool // 15 and later: one copy stream with typed messages
	archive   *Archive
	pending   *Archive // begun while the one before was being read
	left      int      // unread payload of the current message
	sent      map[string]bool
	finished  bool
	stop      segment.LSN
	stopped   bool // the row with the stop position was read
	completed bool
	warnings  []string
}

// backupReadBuffer takes several messages of 32 kB (backup/basebackup.c: SINK_BUFFER_LENGTH) per system call.
const backupReadBuffer = 256 << 10

// BaseBackup sends BASE_BACKUP and waits for the server's checkpoint, which can take minutes. The Conn is given away; its
// end, or that of ctx, ends the backup. The caller closes the BaseBackup.
func (c *Conn) BaseBackup(ctx context.Context, o BackupOptions) (*BaseBackup, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	socket, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	b := newBaseBackup(socket, c.version)
	b.unwatch = context.AfterFunc(ctx, func() { _ = socket.Close() })
	err = b.wire.query(o.command(c.version))
	if err == nil {
		err = b.readStart()
	}
	if err != nil {
		err = fmt.Errorf("begin base backup: %w", b.explain(ctx, err))
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func newBaseBackup(socket net.Conn, version int) *BaseBackup {
	return &BaseBackup{
		wire:    &wire{conn: socket, in: bufio.NewReaderSize(socket, backupReadBuffer)},
		unwatch: func() bool { return true },
		framed:  version >= 150000, sent: map[string]bool{},
	}
}

// explain prefers the reason why ctx ended to what reading a closed socket says.
func (b *BaseBackup) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Close ends the backup, also before its end: the server then gives it up.
func (b *BaseBackup) Close() error {
	b.unwatch()
	if err := b.wire.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close base backup: %w", err)
	}
	return nil
}

// Warnings returns what the server warned of so far, such as each page whose checksum is wrong, with file and block.
func (b *BaseBackup) Warnings() []string { return b.warnings }

// Stop is the position at which the backup becomes consistent. Valid when Next has returned io.EOF.
func (b *BaseBackup) Stop() segment.LSN { return b.stop }

// Next goes to the next archive; what was not read of the current one is an error. io.EOF when the server has said that
// the backup is complete.
func (b *BaseBackup) Next() (Archive, error) {
	if b.archive != nil {
		return Archive{}, fmt.Errorf("%s was not read to its end", b.archive.Name)
	}
	for b.pending == nil {
		if b.finished {
			return Archive{}, io.EOF
		}
		if err := b.advance(); err != nil {
			return Archive{}, fmt.Errorf("base backup: %w", err)
		}
		if b.left > 0 {
			return Archive{}, errors.New("base backup: server sent data outside of an archive")
		}
	}
	b.archive, b.pending = b.pending, nil
	return *b.archive, nil
}

// Read reads the current archive. io.EOF at its end.
func (b *BaseBackup) Read(p []byte) (int, error) {
	if b.archive == nil {
		return 0, io.EOF
	}
	for b.left == 0 {
		if err := b.advance(); err != nil {
			return 0, fmt.Errorf("base backup: %w", err)
		}
		if b.archive == nil {
			return 0, io.EOF
		}
	}
	n, err := b.wire.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	if err != nil {
		return n, fmt.Errorf("base backup: %w", noEOF(err))
	}
	return n, nil
}

// begin makes a new archive the next one. Names decide over keys in the repository: only those that the server announced are
// taken, each once, the manifest last.
func (b *BaseBackup) begin(name string) error {
	b.archive = nil
	if b.pending != nil || b.sent[name] || b.sent[ManifestStream] {
		return fmt.Errorf("server sent archive %q out of order", name)
	}
	b.sent[name] = true
	if name == ManifestStream {
		if len(b.sent) != len(b.Tablespaces)+1 {
			return fmt.Errorf("server sent %d archives, announced %d", len(b.sent)-1, len(b.Tablespaces))
		}
		b.pending = &Archive{Name: name}
		return nil
	}
	for _, t := range b.Tablespaces {
		if t.Archive() == name {
			b.pending = &Archive{Name: name, Tablespace: t}
			return nil
		}
	}
	return fmt.Errorf("server sent archive %q, which it had not announced", name)
}

// noEOF keeps a connection that ends early from looking like a clean end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decodeRow takes apart a DataRow of n columns.
func decodeRow(body []byte, n int) ([][]byte, error) {
	var row pgproto3.DataRow
	if err := row.Decode(body); err != nil {
		return nil, err
	}
	if len(row.Values) != n {
		return nil, fmt.Errorf("server sent a row of %d columns, want %d", len(row.Values), n)
	}
	return row.Values, nil
}
