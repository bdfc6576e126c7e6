package replication

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// Types of the messages within the copy stream of a base backup, from 15 on (backup/basebackup_copy.c).
const (
	backupNewArchive  = 'n'
	backupData        = 'd'
	backupProgress    = 'p'
	backupNewManifest = 'm'
)

// maxTablespaces bounds what an announcement may take in memory.
const maxTablespaces = 100_000

// message reads the header of the next message that matters, and keeps the warnings before it.
func (b *BaseBackup) message() (kind byte, n int, err error) {
	for {
		kind, n, err := b.wire.header()
		if err != nil {
			return 0, 0, noEOF(err)
		}
		switch kind {
		case 'E':
			return 0, 0, b.serverError(n)
		case 'N':
			if err := b.notice(n); err != nil {
				return 0, 0, err
			}
		case 'S', 'T', 'A': // parameter changes, row descriptions, notifications
			if err := b.skip(n); err != nil {
				return 0, 0, err
			}
		default:
			return kind, n, nil
		}
	}
}

func (b *BaseBackup) skip(n int) error {
	_, err := b.wire.in.Discard(n)
	return noEOF(err)
}

func (b *BaseBackup) body(n int) ([]byte, error) {
	p := make([]byte, n)
	return p, noEOF(b.wire.payload(p))
}

// serverError reads an ErrorResponse. A backup with bad pages ends in one after all data was sent (backup/basebackup.c:
// perform_base_backup); the warnings before it name the pages.
func (b *BaseBackup) serverError(n int) error {
	body, err := b.body(n)
	if err != nil {
		return err
	}
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return err
	}
	return pgconn.ErrorResponseToPgError(&e)
}

// maxWarnings bounds what is kept of a server that has many bad pages.
const maxWarnings = 100

func (b *BaseBackup) notice(n int) error {
	body, err := b.body(n)
	if err != nil {
		return err
	}
	var notice pgproto3.NoticeResponse
	if err := notice.Decode(body); err != nil {
		return err
	}
	if notice.SeverityUnlocalized == "WARNING" && len(b.warnings) < maxWarnings {
		b.warnings = append(b.warnings, notice.Message)
	}
	return nil
}

// readStart reads the two result sets before the copy stream (backup/basebackup_copy.c: SendXlogRecPtrResult,
// SendTablespaceList).
func (b *BaseBackup) readStart() error {
	rows, err := b.resultSet(2, 1)
	if err != nil {
		return err
	}
	if b.Start, b.Timeline, err = position(rows); err != nil {
		return err
	}
	if rows, err = b.resultSet(3, maxTablespaces); err != nil {
		return err
	}
	for _, row := range rows {
		t, err := tablespace(row)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(b.Tablespaces, func(u Tablespace) bool { return u.OID == t.OID }) {
			return fmt.Errorf("server announced tablespace %d twice", t.OID)
		}
		b.Tablespaces = append(b.Tablespaces, t)
	}
	if k := len(b.Tablespaces); k == 0 || b.Tablespaces[k-1].OID != 0 {
		return errors.New("server did not announce the data directory as the last archive")
	}
	return nil
}

// resultSet reads the rows of one result set, up to its CommandComplete.
func (b *BaseBackup) resultSet(columns, maxRows int) ([][][]byte, error) {
	var rows [][][]byte
	for {
		kind, n, err := b.message()
		if err != nil {
			return nil, err
		}
		body, err := b.body(n)
		if err != nil {
			return nil, err
		}
		switch kind {
		case 'C':
			return rows, nil
		case 'D':
			row, err := decodeRow(body, columns)
			if err != nil {
				return nil, err
			}
			if rows = append(rows, row); len(rows) > maxRows {
				return nil, fmt.Errorf("server sent more than %d rows", maxRows)
			}
		default:
			return nil, fmt.Errorf("server sent a message of type %q in a result", kind)
		}
	}
}

func position(rows [][][]byte) (segment.LSN, segment.Timeline, error) {
	if len(rows) != 1 {
		return 0, 0, fmt.Errorf("server sent %d positions, want 1", len(rows))
	}
	lsn, err := segment.ParseLSN(string(rows[0][0]))
	if err != nil {
		return 0, 0, err
	}
	t, err := parseTimeline(rows[0][1])
	return lsn, t, err
}

func tablespace(row [][]byte) (Tablespace, error) {
	var t Tablespace
	if row[0] != nil {
		oid, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil || oid == 0 {
			return t, fmt.Errorf("server announced a tablespace with OID %q", row[0])
		}
		t.OID, t.Location = uint32(oid), string(row[1])
	}
	if row[2] != nil {
		kB, err := strconv.ParseInt(string(row[2]), 10, 64)
		if err != nil || kB < 0 || kB > 1<<50 {
			return t, fmt.Errorf("server announced a size of %q", row[2])
		}
		t.Size = kB << 10
	}
	return t, nil
}

// advance reads one message behind the announcement. It leaves left > 0 if archive data follows on the wire.
func (b *BaseBackup) advance() error {
	kind, n, err := b.message()
	if err != nil {
		return err
	}
	switch kind {
	case 'd':
		if b.framed {
			return b.framedData(n)
		}
		b.left = n
		return nil
	case 'H': // CopyOutResponse
		if err := b.skip(n); err != nil || b.framed {
			return err
		}
		return b.begin(b.nextRaw())
	case 'c': // CopyDone
		b.archive = nil
		return b.skip(n)
	}
	body, err := b.body(n)
	if err != nil {
		return err
	}
	return b.end(kind, body)
}

// nextRaw names the archive that a copy stream holds up to 14: they come in the order of the announcement, the manifest last.
func (b *BaseBackup) nextRaw() string {
	if n := len(b.sent); n < len(b.Tablespaces) {
		return b.Tablespaces[n].Archive()
	}
	return ManifestStream
}

// framedData takes apart a message of the copy stream from 15 on.
func (b *BaseBackup) framedData(n int) error {
	if n < 1 {
		return errors.New("server sent an empty copy message")
	}
	kind, err := b.wire.in.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	n--
	switch kind {
	case backupData:
		b.left = n
		return nil
	case backupProgress:
		return b.skip(n)
	case backupNewManifest:
		if err := b.skip(n); err != nil {
			return err
		}
		return b.begin(ManifestStream)
	case backupNewArchive:
		body, err := b.body(n)
		if err != nil {
			return err
		}
		name, _, ok := bytes.Cut(body, []byte{0})
		if !ok || string(name) == ManifestStream {
			return fmt.Errorf("server sent an archive named %q", body)
		}
		return b.begin(string(name))
	}
	return fmt.Errorf("server sent a copy message of type %q", kind)
}

// end reads what follows the copy stream: the stop position, and then, only on success, CommandComplete and ReadyForQuery.
func (b *BaseBackup) end(kind byte, body []byte) error {
	switch {
	case !b.sent[ManifestStream] || b.archive != nil || b.pending != nil:
		return fmt.Errorf("server sent a message of type %q before the end of the manifest", kind)
	case kind == 'D' && !b.stopped:
		row, err := decodeRow(body, 2)
		if err != nil {
			return err
		}
		lsn, t, err := position([][][]byte{row})
		if err != nil {
			return err
		}
		if t != b.Timeline || lsn < b.Start {
			return fmt.Errorf("the backup begins at %s of timeline %d and ends at %s of timeline %d", b.Start, uint32(b.Timeline), lsn, uint32(t))
		}
		b.stop, b.stopped = lsn, true
		return nil
	case kind == 'C':
		b.completed = true
		return nil
	case kind == 'Z' && b.stopped && b.completed:
		b.finished = true
		return nil
	}
	return fmt.Errorf("server sent a message of type %q at the end of the backup", kind)
}
