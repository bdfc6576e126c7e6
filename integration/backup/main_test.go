// Package backup_test takes base backups of real servers with the real binary, and brings them back with stock tools:
// lz4, tar, pg_verifybackup and a plain restore_command.
package backup_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/catalog"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a server with a repository and, mostly, a receiver.
type site struct {
	*postgres.Server
	t    testing.TB
	ctx  context.Context
	dir  string // of the repository
	work string // writable by the server's account
}

func newSite(t testing.TB, o postgres.Options) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &site{Server: postgres.Start(t, o), t: t, ctx: ctx}
	s.work = s.temp()
	must(t, os.Chmod(s.work, 0o770|os.ModeSetgid))
	s.dir = filepath.Join(s.work, "repo")
	return s
}

func (s *site) temp() string {
	s.t.Helper()
	dir, err := s.TempDir()
	must(s.t, err)
	return dir
}

func (s *site) repo() string { return "file://" + s.dir }

// receive archives the server's WAL from now on.
func (s *site) receive() *walkeep.Receiver {
	s.t.Helper()
	r := walkeep.Receive(s.t, walkeep.ReceiveOptions{Repo: s.repo(), DSN: s.DSN()})
	_, err := r.WaitState(s.ctx, "streaming")
	must(s.t, err)
	return r
}

// backup takes a backup and returns its description.
func (s *site) backup(args ...string) catalog.Backup {
	s.t.Helper()
	var b catalog.Backup
	out := walkeep.MustRun(s.t, append([]string{"backup", "--json", "--repo", s.repo(), "--primary", s.DSN()}, args...)...)
	must(s.t, json.Unmarshal([]byte(out), &b))
	return b
}

// refused takes a backup that must fail, and leave nothing visible, and returns what walkeep said.
func (s *site) refused(args ...string) string {
	s.t.Helper()
	_, stderr, exit := walkeep.Run(s.t, append([]string{"backup", "--repo", s.repo()}, args...)...)
	if exit != 1 {
		s.t.Errorf("exit code %d, want 1\n%s", exit, stderr)
	}
	s.nothing()
	return stderr
}

// nothing says so if a backup is visible.
func (s *site) nothing() {
	s.t.Helper()
	if found, err := filepath.Glob(filepath.Join(s.dir, "*", "backup", "*")); err != nil || len(found) > 0 {
		s.t.Errorf("a backup is visible: %q, %v", found, err)
	}
}

// shell runs a command line as the account that servers run as.
func (s *site) shell(command string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, "bash", "-ec", "set -o pipefail; "+command)
	cmd.Dir = s.work
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		must(s.t, err)
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// tablespace makes a tablespace whose path has a space in it, with a table of rows in it.
func (s *site) tablespace(rows int) {
	s.t.Helper()
	path := filepath.Join(s.temp(), "table space")
	s.shell(fmt.Sprintf("mkdir '%s'", path))
	s.MustExec(s.t, fmt.Sprintf("CREATE TABLESPACE side LOCATION '%s'", path))
	s.MustExec(s.t, "CREATE TABLE aside (id int, t text) TABLESPACE side")
	s.MustExec(s.t, fmt.Sprintf("INSERT INTO aside SELECT i, md5(i::text) FROM generate_series(1, %d) i", rows))
	s.MustExec(s.t, "CREATE UNLOGGED TABLE passing AS SELECT 1 AS n")
}

// extract unpacks a backup with stock tools, its tablespaces beside the data directory, and returns that.
func (s *site) extract(b catalog.Backup) string {
	s.t.Helper()
	parts := filepath.Join(s.dir, b.SystemID, "part", b.ID.String())
	data := filepath.Join(s.temp(), "data")
	s.shell(fmt.Sprintf("mkdir -m 700 '%[1]s'; cat '%[2]s'/base.tar.* | lz4 -d | tar x -C '%[1]s'; cat '%[2]s'/backup_manifest* | lz4 -d > '%[1]s/backup_manifest'", data, parts))
	for _, space := range b.Tablespaces {
		to := filepath.Join(s.temp(), "restored space")
		s.shell(fmt.Sprintf("mkdir -m 700 '%[1]s'; cat '%[2]s/%[3]d.tar.'* | lz4 -d | tar x -C '%[1]s'; ln -s '%[1]s' '%[4]s/pg_tblspc/%[3]d'; "+
			`printf '%%s\n' '%[3]d %[5]s' > '%[4]s/tablespace_map'`, to, parts, space.OID, data, strings.ReplaceAll(to, " ", " ")))
	}
	return data
}

// recover starts a server on an extracted backup, with nothing but restore_command, and waits until it takes writes.
func (s *site) recover(data string) *postgres.Server {
	s.t.Helper()
	// A standby's own signal file is part of its backup, and would keep the restored server waiting for more WAL.
	s.shell(fmt.Sprintf("cd '%s'; rm -f standby.signal; touch recovery.signal", data))
	server := postgres.Open(s.t, data, postgres.Options{Major: s.Major, Config: map[string]string{
		"restore_command":          fmt.Sprintf("%s fetch --repo %s %%f %%p || exit $(( $? == 1 ? 1 : 200 ))", walkeep.Binary(s.t), s.repo()),
		"recovery_target_timeline": "latest", "archive_mode": "off", "recovery_target_action": "promote",
	}})
	must(s.t, server.StartContext(s.ctx))
	must(s.t, waitPromoted(s.ctx, server))
	return server
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
