package backup_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"walkeep/catalog"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

func waitPromoted(ctx context.Context, server *postgres.Server) error {
	return poll.Until(ctx, "recovery to end", func(ctx context.Context) (bool, error) {
		in, err := server.Query(ctx, "SELECT pg_is_in_recovery()")
		return in == "f" || in == "false", err
	})
}

// A backup taken under load, with a tablespace, comes back with stock lz4 and tar, passes pg_verifybackup, and recovers to
// the last commit by a plain restore_command.
func TestS48BackupComesBackByHand(t *testing.T) {
	for _, major := range postgres.Matrix() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := newSite(t, postgres.Options{Major: major, Initdb: []string{"--data-checksums"}})
			s.tablespace(50_000)
			r := s.receive()
			must(t, s.PgbenchInit(s.ctx, 1))
			stop := s.load()
			b := s.backup("--label", "it's \"mine\"")
			stop()
			describes(t, s, b)
			data := s.extract(b)
			verify(s, data)
			want := s.MustQuery(t, "SELECT count(*) || ' ' || sum(abalance) FROM pgbench_accounts")
			history := s.MustQuery(t, "SELECT count(*) FROM pgbench_history")
			flushed, err := s.FlushLSN(s.ctx)
			must(t, err)
			must(t, r.WaitDurable(s.ctx, flushed))
			restored := s.recover(data)
			for query, want := range map[string]string{
				"SELECT count(*) || ' ' || sum(abalance) FROM pgbench_accounts": want,
				"SELECT count(*) FROM pgbench_history":                          history,
				"SELECT count(*) || ' ' || count(DISTINCT t) FROM aside":        "50000 50000",
				"SELECT count(*) FROM passing":                                  "0", // unlogged
			} {
				if got := restored.MustQuery(t, query); got != want {
					t.Errorf("%s: restored %s, want %s", query, got, want)
				}
			}
		})
	}
}

// load runs pgbench until stopped.
func (s *site) load() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Pgbench(ctx, "-n", "-c", "2", "-T", "600"); err != nil && ctx.Err() == nil {
			s.t.Errorf("load: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	s.t.Cleanup(stop)
	return stop
}

// describes compares the description of a backup with what is known otherwise, and with what list shows.
func describes(t *testing.T, s *site, b catalog.Backup) {
	t.Helper()
	if b.Label != "it's \"mine\"" || b.Source != catalog.FromPrimary || b.Timeline != 1 || b.ServerVersion/10000 != s.Major {
		t.Errorf("label %q of a %s, timeline %d, version %d", b.Label, b.Source, b.Timeline, b.ServerVersion)
	}
	if b.Start == 0 || b.Stop <= b.Start || b.Checkpoint < b.Start || !b.DataChecksums || b.ConfigOutside {
		t.Errorf("start %s, checkpoint %s, stop %s, checksums %t, outside %t", b.Start, b.Checkpoint, b.Stop, b.DataChecksums, b.ConfigOutside)
	}
	if b.Settings["max_connections"] != "60" || b.Settings["wal_segment_size"] != "16MB" || !b.SettingsComplete {
		t.Errorf("settings: %v", b.Settings)
	}
	if len(b.Tablespaces) != 1 || len(b.Files) != 3 || b.Files[1].Name != "base.tar" || b.Files[2].Name != "backup_manifest" {
		t.Errorf("tablespaces %v, files %v", b.Tablespaces, b.Files)
	}
	list := walkeep.MustRun(t, "list", "--repo", s.repo())
	if !strings.Contains(list, b.ID.String()) || !strings.Contains(list, "yes") {
		t.Errorf("list does not show the backup:\n%s", list)
	}
}

// verify runs pg_verifybackup, whose version 15 does not read the manifests of 17 and later.
func verify(s *site, data string) {
	s.t.Helper()
	if s.Major < 17 {
		s.shell(fmt.Sprintf("%s -n -q '%s' -i tablespace_map", postgres.Tool("pg_verifybackup"), data))
	}
}
