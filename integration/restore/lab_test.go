package restore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// A lab is a server whose WAL a receiver keeps, and a base backup of it: what there is after a disaster.
type lab struct {
	*postgres.Server
	t        *testing.T
	ctx      context.Context
	repo     string   // URL
	env      []string // KEY=value: what walkeep needs to reach the repository
	receiver *walkeep.Receiver
	base     string // base backup without WAL
	load     *load
}

// newLab starts a server and a receiver, and takes the base backup. Without repo it is a directory that PostgreSQL's account
// may read, as restore_command must.
func newLab(t *testing.T, ctx context.Context, o postgres.Options, repo string, env ...string) *lab {
	t.Helper()
	if o.SegmentSizeMB == 0 {
		o.SegmentSizeMB = 1
	}
	l := &lab{Server: postgres.Start(t, o), t: t, ctx: ctx, repo: repo, env: env}
	if repo == "" {
		dir, err := l.TempDir()
		must(t, err)
		must(t, os.Chmod(dir, 0o770|os.ModeSetgid))
		l.repo = "file://" + filepath.Join(dir, "repo")
	}
	l.receive() // first: in synchronous mode commits wait for it
	l.MustExec(t, loadTable)
	must(t, l.backup())
	return l
}

func (l *lab) receive() {
	l.t.Helper()
	l.receiver = walkeep.Receive(l.t, walkeep.ReceiveOptions{Repo: l.repo, DSN: l.DSN(), Env: l.env})
	_, err := l.receiver.WaitState(l.ctx, "streaming")
	must(l.t, err)
}

// backup takes a base backup by the low-level interface, which works with every version: pg_basebackup refuses servers newer
// than itself. It takes no WAL.
func (l *lab) backup() error {
	dir, err := l.TempDir()
	if err != nil {
		return err
	}
	l.base = filepath.Join(dir, "base")
	if l.Major == 15 {
		return l.BaseBackup(l.ctx, l.base, "-X", "none", "--no-sync", "--no-manifest")
	}
	conn, err := l.Connect(l.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(l.ctx)) }()
	start, stop := "SELECT pg_backup_start('lab', true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if l.Major < 15 {
		start, stop = "SELECT pg_start_backup('lab', true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	if _, err := conn.Exec(l.ctx, start); err != nil {
		return fmt.Errorf("%s: %w", start, err)
	}
	// What basebackup.c leaves out; files may vanish meanwhile, which cp says and goes on.
	copied, _ := exec.CommandContext(l.ctx, "/bin/sh", "-c", fmt.Sprintf(`cp -a %[1]s %[2]s
		cd %[2]s && rm -rf postmaster.pid postmaster.opts pg_wal/* pg_replslot/* pg_dynshmem/* pg_stat_tmp/* pg_notify/* && mkdir -p pg_wal/archive_status`,
		l.DataDir(), l.base)).CombinedOutput()
	var label string
	if err := conn.QueryRow(l.ctx, stop).Scan(&label); err != nil {
		return fmt.Errorf("%s: %w; %s", stop, err, copied)
	}
	return os.WriteFile(filepath.Join(l.base, "backup_label"), []byte(label), 0o600)
}

// backupStart is the first segment that a recovery of the base backup needs.
func (l *lab) backupStart() segment.Name {
	l.t.Helper()
	label, err := os.ReadFile(filepath.Join(l.base, "backup_label"))
	must(l.t, err)
	_, rest, _ := strings.Cut(string(label), "(file ")
	file, _, _ := strings.Cut(rest, ")")
	n, err := segment.ParseName(file, segment.MinSize)
	must(l.t, err)
	return n
}

// wholeSegments is the end of the last segment that is archived as a whole.
func (l *lab) wholeSegments() segment.LSN {
	l.t.Helper()
	out := walkeep.Call{Args: []string{"list", "--repo", l.repo, "--json"}, Env: l.env}.Run(l.t)
	var listing struct {
		Clusters []struct{ Timelines []struct{ To segment.LSN } }
	}
	must(l.t, json.Unmarshal([]byte(out.Stdout), &listing))
	return segment.MinSize.Start(listing.Clusters[0].Timelines[0].To)
}

// lose kills server and receiver at one moment.
func (l *lab) lose() {
	l.t.Helper()
	must(l.t, errors.Join(l.receiver.Kill9(), l.Kill9()))
	l.load.wait()
}

// fetch is walkeep fetch as restore_command calls it, with arguments in front of its own and without the wrapper.
func (l *lab) fetch(args ...string) string {
	words := append([]string{"env"}, l.env...)
	words = append(words, walkeep.Binary(l.t), "fetch", "--repo", l.repo)
	return strings.Join(append(words, args...), " ") + " %f %p"
}

// wrapper is what our documentation puts behind fetch.
const wrapper = " || exit $(( $? == 1 ? 1 : 200 ))"

// recovering prepares a recovery of the base backup to the end of what restore_command brings, without starting it.
func (l *lab) recovering(restoreCommand string, settings map[string]string) *postgres.Server {
	l.t.Helper()
	dir, err := l.TempDir()
	must(l.t, err)
	dir = filepath.Join(dir, "restored")
	out, err := exec.CommandContext(l.ctx, "cp", "-a", l.base, dir).CombinedOutput()
	if err != nil {
		l.t.Fatalf("copy base backup: %v: %s", err, out)
	}
	must(l.t, os.WriteFile(filepath.Join(dir, "recovery.signal"), nil, 0o600))
	s := postgres.Open(l.t, dir, postgres.Options{Major: l.Major})
	must(l.t, s.AppendConfig(map[string]string{
		"restore_command": restoreCommand, "recovery_target_timeline": "latest", "synchronous_standby_names": "",
	}))
	must(l.t, s.AppendConfig(settings))
	return s
}

// opens starts a server that recovers, and waits until it takes writes.
func (l *lab) opens(s *postgres.Server) {
	l.t.Helper()
	must(l.t, s.StartContext(l.ctx))
	l.opened(s)
}

// opened waits until a server that recovers takes writes.
func (l *lab) opened(s *postgres.Server) {
	l.t.Helper()
	must(l.t, poll.Until(l.ctx, "recovery to end", func(ctx context.Context) (bool, error) {
		in, err := s.Query(ctx, "SELECT pg_is_in_recovery()")
		return in == "f" || in == "false", err
	}))
}

// stops starts a server whose recovery can't succeed, and waits until it has given up. It must not have opened.
func (l *lab) stops(s *postgres.Server) {
	l.t.Helper()
	_ = s.StartContext(l.ctx) // it may be open for reading for a moment
	must(l.t, s.WaitExit(l.ctx))
	l.neverOpened(s)
}

// neverOpened checks that a recovery has not ended: a new timeline is begun then.
func (l *lab) neverOpened(s *postgres.Server) {
	l.t.Helper()
	log := s.Log(0)
	for _, word := range []string{"selected new timeline", "archive recovery complete", "database system is ready to accept connections"} {
		if strings.Contains(log, word) {
			l.t.Fatalf("the server opened:\n%s", log)
		}
	}
	if _, err := os.Stat(filepath.Join(s.DataDir(), "recovery.signal")); err != nil {
		l.t.Fatalf("recovery is over: %v\n%s", err, log)
	}
}
