package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestBackupCommand(t *testing.T) {
	o := BackupOptions{Label: "it's", Checkpoint: CheckpointFast, MaxRate: 1024}
	for version, want := range map[int]string{
		130000: "BASE_BACKUP LABEL 'it''s' PROGRESS TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C' MAX_RATE 1024 FAST NOWAIT",
		150000: "BASE_BACKUP ( LABEL 'it''s', PROGRESS, TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', MAX_RATE 1024, CHECKPOINT 'fast', WAIT 0 )",
	} {
		if got := o.command(version); got != want {
			t.Errorf("%d:\n got %s\nwant %s", version, got, want)
		}
	}
	for _, bad := range []BackupOptions{
		{Checkpoint: "slow"},
		{Checkpoint: CheckpointFast, MaxRate: 31},
		{Checkpoint: CheckpointFast, MaxRate: MaxBackupRate + 1},
		{Checkpoint: CheckpointFast, Label: "a\nb"},
		{Checkpoint: CheckpointFast, Label: strings.Repeat("x", 1024)},
	} {
		if bad.check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// messages is what a server sends, in order.
type messages []pgproto3.BackendMessage

func row(values ...string) pgproto3.BackendMessage {
	var r pgproto3.DataRow
	for _, v := range values {
		if v == "NULL" {
			r.Values = append(r.Values, nil)
		} else {
			r.Values = append(r.Values, []byte(v))
		}
	}
	return &r
}

func data(p string) pgproto3.BackendMessage { return &pgproto3.CopyData{Data: []byte(p)} }

var (
	described = &pgproto3.RowDescription{}
	selected  = &pgproto3.CommandComplete{CommandTag: []byte("SELECT")}
	copyOut   = &pgproto3.CopyOutResponse{}
	copyDone  = &pgproto3.CopyDone{}
	ready     = &pgproto3.ReadyForQuery{TxStatus: 'I'}
)

// announced is what every backup begins with.
func announced() messages {
	return messages{
		described, row("0/2000028", "1"), selected,
		described, row("16391", "/srv/a space", "7"), row("NULL", "NULL", "20"), selected,
	}
}

// completed is what every good backup ends with.
func completed() messages {
	return messages{described, row("0/2000138", "1"), selected, &pgproto3.CommandComplete{CommandTag: []byte("BASE_BACKUP")}, ready}
}

// framed is a good backup of 15 and later, raw one of 14 and before; they hold the same.
func framed() messages {
	return append(append(announced(), copyOut,
		data("n16391.tar\x00/srv/a space\x00"), data("dspace"), data("p\x00\x00\x00\x00\x00\x00\x00\x05"),
		data("nbase.tar\x00\x00"), data("dba"), data("d"), data("dse"),
		&pgproto3.NoticeResponse{SeverityUnlocalized: "WARNING", Message: "page"},
		data("m"), data("dmani"), data("dfest"), copyDone), completed()...)
}

func raw() messages {
	return append(append(announced(), copyOut, data("space"), data(""), copyDone, copyOut, data("ba"), data("se"), copyDone,
		copyOut, data("mani"), data("fest"), copyDone), completed()...)
}

// receiveBackup goes through a whole backup and returns what each archive held.
func receiveBackup(t *testing.T, version int, script messages) (map[string]string, *BaseBackup, error) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		for _, m := range script {
			p, err := m.Encode(nil)
			if err == nil {
				_, err = server.Write(p)
			}
			if err != nil {
				return
			}
		}
	}()
	b := newBaseBackup(client, version)
	defer func() {
		_ = b.Close()
		<-done
	}()
	if err := b.readStart(); err != nil {
		return nil, b, err
	}
	got := map[string]string{}
	for {
		a, err := b.Next()
		if errors.Is(err, io.EOF) {
			return got, b, nil
		}
		if err != nil {
			return got, b, err
		}
		content, err := io.ReadAll(b)
		if err != nil {
			return got, b, err
		}
		got[a.Name] = string(content)
	}
}

func TestBaseBackupInBothFramings(t *testing.T) {
	want := map[string]string{"16391.tar": "space", "base.tar": "base", "backup_manifest": "manifest"}
	for version, script := range map[int]messages{130000: raw(), 140000: raw(), 150000: framed(), 180000: framed()} {
		got, b, err := receiveBackup(t, version, script)
		if err != nil {
			t.Fatalf("%d: %v", version, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", version, diff)
		}
		if b.Start != 0x2000028 || b.Timeline != 1 || b.Stop() != 0x2000138 {
			t.Errorf("%d: from %s to %s on timeline %d", version, b.Start, b.Stop(), uint32(b.Timeline))
		}
		spaces := []Tablespace{{OID: 16391, Location: "/srv/a space", Size: 7 << 10}, {Size: 20 << 10}}
		if diff := cmp.Diff(spaces, b.Tablespaces); diff != "" {
			t.Errorf("%d: %s", version, diff)
		}
		if version >= 150000 && cmp.Diff([]string{"page"}, b.Warnings()) != "" {
			t.Errorf("warnings %q", b.Warnings())
		}
	}
}

// Wherever the connection ends, there is no success.
func TestBaseBackupCutShort(t *testing.T) {
	for version, script := range map[int]messages{140000: raw(), 150000: framed()} {
		for n := range script {
			if _, _, err := receiveBackup(t, version, script[:n]); err == nil {
				t.Errorf("%d: success after %d of %d messages", version, n, len(script))
			}
		}
	}
}

// An error at the very end, after all data, is a failure: so servers report damaged pages.
func TestBaseBackupFailsAtTheEnd(t *testing.T) {
	corrupt := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "XX001", Message: "checksum verification failure"}
	for version, script := range map[int]messages{140000: raw(), 150000: framed()} {
		script[len(script)-2] = corrupt
		_, _, err := receiveBackup(t, version, script)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "XX001" {
			t.Errorf("%d: %v", version, err)
		}
	}
}

// Archives that the server did not announce, or in another order, never become keys.
func TestBaseBackupRefusesStrangeArchives(t *testing.T) {
	begin := func(m ...pgproto3.BackendMessage) messages { return append(append(announced(), copyOut), m...) }
	for name, script := range map[string]messages{
		"not announced":       begin(data("n1.tar\x00\x00")),
		"path":                begin(data("n../base.tar\x00\x00")),
		"twice":               begin(data("nbase.tar\x00\x00"), data("nbase.tar\x00\x00")),
		"as manifest":         begin(data("nbackup_manifest\x00\x00")),
		"not terminated":      begin(data("nbase.tar")),
		"manifest too early":  begin(data("nbase.tar\x00\x00"), data("m")),
		"data before":         begin(data("dx")),
		"unknown type":        begin(data("zx")),
		"empty message":       begin(data("")),
		"end before manifest": append(begin(data("n16391.tar\x00\x00"), data("nbase.tar\x00\x00"), copyDone), completed()...),
		"no data directory":   {described, row("0/2000028", "1"), selected, described, row("16391", "/x", "7"), selected},
		"tablespace twice":    {described, row("0/2000028", "1"), selected, described, row("5", "/x", "7"), row("5", "/x", "7"), row("NULL", "NULL", "1"), selected},
		"oid 0":               {described, row("0/2000028", "1"), selected, described, row("0", "/x", "7"), row("NULL", "NULL", "1"), selected},
		"two positions":       {described, row("0/2000028", "1"), row("0/2000028", "1"), selected},
		"other timeline":      append(framed()[:len(framed())-5], described, row("0/2000138", "2"), selected, selected, ready),
		"ends before start":   append(framed()[:len(framed())-5], described, row("0/2000000", "1"), selected, selected, ready),
		"no stop position":    append(framed()[:len(framed())-5], selected, ready),
	} {
		if got, _, err := receiveBackup(t, 150000, script); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestBaseBackupEndsWithItsContext(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	b := newBaseBackup(client, 150000)
	b.unwatch = context.AfterFunc(ctx, func() { _ = client.Close() })
	time.AfterFunc(time.Millisecond, func() { cancel(fmt.Errorf("enough")) })
	if err := b.explain(ctx, b.readStart()); err == nil || err.Error() != "enough" {
		t.Errorf("got %v, want enough", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
