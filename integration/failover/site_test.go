package failover_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/integration/fault"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage/disk"
)

// A site is a cluster: the servers it has had, one address that is moved from one to the next, and the repository.
type site struct {
	t       testing.TB
	ctx     context.Context
	first   *postgres.Server
	address *fault.Proxy // what the receiver is told, unless a test tells it otherwise
	dir     string       // of the repository
}

// newSite starts the first primary, which archives with archive_command too. PostgreSQL's account may read the
// repository, as restore_command must.
func newSite(t testing.TB, o postgres.Options) *site {
	t.Helper()
	o.ArchiveDir = true
	if o.SegmentSizeMB == 0 {
		o.SegmentSizeMB = 1
	}
	s := &site{t: t, ctx: limit(t, 3*time.Minute), first: postgres.Start(t, o)}
	dir, err := s.first.TempDir()
	must(t, err)
	must(t, os.Chmod(dir, 0o770|os.ModeSetgid))
	s.dir = filepath.Join(dir, "repo")
	s.address = fault.Start(t, s.first.Addr())
	s.first.MustExec(t, "CREATE TABLE written (id int)")
	return s
}

func (s *site) repo() string { return "file://" + s.dir }

// receive starts a receiver that follows the site's address.
func (s *site) receive(args ...string) *walkeep.Receiver {
	s.t.Helper()
	return s.receiveFrom(s.first.DSNAt(s.address.Addr()), args...)
}

// receiveFrom starts a receiver with a connection string of its own.
func (s *site) receiveFrom(dsn string, args ...string) *walkeep.Receiver {
	s.t.Helper()
	args = append([]string{"--tail-interval", "100ms"}, args...)
	return walkeep.Receive(s.t, walkeep.ReceiveOptions{Repo: s.repo(), DSN: dsn, Args: args})
}

// streaming starts a receiver and waits until it streams.
func (s *site) streaming(args ...string) *walkeep.Receiver {
	s.t.Helper()
	r := s.receive(args...)
	_, err := r.WaitState(s.ctx, "streaming")
	must(s.t, err)
	return r
}

// move sends the site's address to another server; connections to the one before are broken.
func (s *site) move(to *postgres.Server) {
	s.address.SetTarget(to.Addr())
	s.address.Reset()
}

func (s *site) catalog() *catalog.Catalog {
	s.t.Helper()
	store, err := disk.Open(s.dir)
	must(s.t, err)
	c, err := catalog.OpenOnly(s.ctx, store)
	must(s.t, err)
	return c
}

// branches is what is archived, by lineage.
func (s *site) branches() map[segment.Lineage]catalog.Branch {
	s.t.Helper()
	all, err := s.catalog().Branches(s.ctx)
	must(s.t, err)
	found := map[segment.Lineage]catalog.Branch{}
	for _, b := range all {
		found[b.Lineage] = b
	}
	return found
}

// multihost is a connection string that names several servers.
func multihost(servers ...*postgres.Server) string {
	var hosts, ports []string
	for _, s := range servers {
		hosts = append(hosts, "127.0.0.1")
		ports = append(ports, fmt.Sprint(s.Port))
	}
	return fmt.Sprintf("host=%s port=%s user=postgres sslmode=disable", strings.Join(hosts, ","), strings.Join(ports, ","))
}

// write commits rows from..to, one transaction, with about kB of WAL beside them.
func (s *site) write(to *postgres.Server, from, through, kB int) {
	s.t.Helper()
	to.MustExec(s.t, "INSERT INTO written SELECT generate_series($1::int, $2::int)", from, through)
	to.MustExec(s.t, "SELECT count(pg_logical_emit_message(true, 'load', repeat(md5(i::text), 32))) FROM generate_series(1, $1::int) i", kB)
}

// rows is how many rows a server has, and the sum of their ids.
func (s *site) rows(of *postgres.Server) string {
	s.t.Helper()
	return of.MustQuery(s.t, "SELECT count(*) || ' rows, sum ' || coalesce(sum(id), 0) FROM written")
}

// history is the server's history file of its timeline; timeline 1 has none.
func (s *site) history(of *postgres.Server, timeline segment.Timeline) (segment.Lineage, []segment.Fork) {
	s.t.Helper()
	if timeline == 1 {
		return segment.Lineage{Timeline: 1}, nil
	}
	content, err := os.ReadFile(filepath.Join(of.DataDir(), "pg_wal", timeline.HistoryName()))
	must(s.t, err)
	l, err := segment.NewLineage(timeline, content)
	must(s.t, err)
	forks, err := segment.ParseHistory(content)
	must(s.t, err)
	return l, forks
}

// timeline is the one the server is on.
func (s *site) timeline(of *postgres.Server) segment.Timeline {
	s.t.Helper()
	var t segment.Timeline
	_, err := fmt.Sscan(of.MustQuery(s.t, "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver) "+
		"ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END"), &t)
	must(s.t, err)
	return t
}

// lineage is the one the server writes now, and where it forked from its parent; 0 for timeline 1.
func (s *site) lineage(of *postgres.Server) (segment.Lineage, segment.LSN) {
	s.t.Helper()
	l, forks := s.history(of, s.timeline(of))
	if len(forks) == 0 {
		return l, 0
	}
	return l, forks[len(forks)-1].Switch
}

// promoteInPlace makes a server begin a new timeline: it is stopped in order, started as a standby of nobody, and promoted.
func (s *site) promoteInPlace(server *postgres.Server) {
	s.t.Helper()
	_, err := server.Stop(postgres.Fast)
	must(s.t, err)
	s.asStandby(server, map[string]string{"primary_conninfo": "", "recovery_target_timeline": "current"})
	must(s.t, server.Start())
	must(s.t, server.Promote(s.ctx))
}

// asStandby turns a stopped server into a standby.
func (s *site) asStandby(server *postgres.Server, settings map[string]string) {
	s.t.Helper()
	must(s.t, server.AppendConfig(settings))
	signal := filepath.Join(server.DataDir(), "standby.signal")
	must(s.t, os.WriteFile(signal, nil, 0o644))
	must(s.t, own(signal))
}
