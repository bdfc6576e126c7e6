package backup

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/segment"
)

// archiveTo stores WAL of the lineage as links of its tail, from where it ends up to lsn.
func archiveTo(t testing.TB, c *catalog.Catalog, lsn segment.LSN) {
	t.Helper()
	l := testID.Lineage
	n := segment.NameAt(l.Timeline, lsn, c.SegmentSize())
	end, err := c.TailEnd(t.Context(), l, n)
	must(t, err)
	raw := make([]byte, int(lsn-n.Start())-end)
	statement := segment.NewStatement(c.SystemID(), l, n.Start()+segment.LSN(end), raw)
	object, err := segment.NewEncoder().Encode(nil, statement, raw)
	must(t, err)
	must(t, c.PutLink(t.Context(), n, statement, object))
}

// await waits for the WAL of the test's backup while change goes on.
func await(t *testing.T, change func(*catalog.Catalog)) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog(t, newStore())
		go change(c)
		s := session{catalog: c, log: slog.New(slog.DiscardHandler)}
		s.options.setDefaults()
		began := time.Now()
		err = s.awaitWAL(t.Context(), catalog.Backup{ID: testID, Start: testID.Start, Stop: 0x2000138})
		took = time.Since(began)
	})
	return took, err
}

func TestWaitsForWAL(t *testing.T) {
	begin := func(c *catalog.Catalog, at segment.LSN) {
		must(t, c.Begin(t.Context(), testID.Lineage, at, time.Now()))
	}
	gap := func(c *catalog.Catalog, kind catalog.GapKind) {
		must(t, c.RecordGap(t.Context(), catalog.Gap{Lineage: testID.Lineage, From: 0x2000000, To: 0x2001000, Kind: kind}))
	}
	tests := map[string]struct {
		change   func(*catalog.Catalog)
		want     string // "" is success
		min, max time.Duration
	}{
		"nobody": {func(*catalog.Catalog) {}, "no WAL of its lineage is archived, and nobody archived any in 1m0s", time.Minute, 65 * time.Second},
		"there": {func(c *catalog.Catalog) {
			begin(c, 0x2000000)
			archiveTo(t, c, 0x2000138)
		}, "", 0, time.Second},
		"slow, but coming": {func(c *catalog.Catalog) {
			begin(c, 0x2000000)
			for at := segment.LSN(0x2000038); at <= 0x2000138; at += 0x80 {
				time.Sleep(50 * time.Second)
				archiveTo(t, c, at)
			}
		}, "", 150 * time.Second, 155 * time.Second},
		"stops short": {func(c *catalog.Catalog) {
			begin(c, 0x2000000)
			archiveTo(t, c, 0x2000137)
		}, "archived up to 0/2000137 only, before its end 0/2000138", time.Minute, 65 * time.Second},
		"begins too late": {func(c *catalog.Catalog) {
			begin(c, 0x3000000)
		}, "begins at 0/3000000, behind its start 0/2000000: take another one", 0, time.Second},
		"lost": {func(c *catalog.Catalog) {
			begin(c, 0x2000000)
			gap(c, catalog.GapLost)
			begin(c, 0x2000000)
		}, "is lost", 0, 65 * time.Second},
		"damaged": {func(c *catalog.Catalog) {
			gap(c, catalog.GapDamaged)
			begin(c, 0x2000000)
			archiveTo(t, c, 0x2000138)
		}, "is damaged", 0, 65 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			took, err := await(t, test.change)
			var missing *NotArchivedError
			switch {
			case test.want == "" && err != nil, test.want != "" && (!errors.As(err, &missing) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case took < test.min || took > test.max:
				t.Errorf("took %s, want %s to %s", took, test.min, test.max)
			}
		})
	}
}

func TestOneBackupAtATime(t *testing.T) {
	var taker Taker
	taker.mu.Lock()
	if _, err := taker.Take(context.Background(), Options{Server: &replication.Config{}}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
}

func TestConfigOutside(t *testing.T) {
	for config, want := range map[string]bool{
		"/etc/postgresql/15/main/postgresql.conf": true, "/var/lib/postgresql/15/main/postgresql.conf": false,
		"/var/lib/postgresql/15/main2/postgresql.conf": true, "": false,
	} {
		s := server{settings: map[string]string{"data_directory": "/var/lib/postgresql/15/main", "config_file": config}}
		if s.configOutside() != want {
			t.Errorf("%q: %t, want %t", config, !want, want)
		}
	}
}
