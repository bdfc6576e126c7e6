package failover_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// base takes a base backup without its WAL, which has to come from the archive, and returns its directory.
func (s *site) base(of *postgres.Server) string {
	s.t.Helper()
	dir, err := of.TempDir()
	must(s.t, err)
	dir = filepath.Join(dir, "base")
	must(s.t, of.BaseBackup(s.ctx, dir, "-X", "none", "--no-manifest", "--no-sync"))
	return dir
}

// restore brings a base backup up with a plain restore_command, on the newest timeline there is, and returns when it
// takes writes. What fetch was asked for is in its log.
func (s *site) restore(base string, settings map[string]string) *postgres.Server {
	s.t.Helper()
	server := s.recovering(base, settings)
	must(s.t, server.Start())
	s.promoted(server)
	return server
}

// recovering prepares a restore, without starting it.
func (s *site) recovering(base string, settings map[string]string) *postgres.Server {
	s.t.Helper()
	dir, err := s.first.TempDir()
	must(s.t, err)
	dir = filepath.Join(dir, "restored")
	must(s.t, s.run("cp", "-a", base, dir))
	signal := filepath.Join(dir, "recovery.signal")
	must(s.t, os.WriteFile(signal, nil, 0o600))
	config := map[string]string{
		"restore_command":          fmt.Sprintf("%s fetch --repo %s %%f %%p || exit $(( $? == 1 ? 1 : 200 ))", walkeep.Binary(s.t), s.repo()),
		"recovery_target_timeline": "latest", "primary_conninfo": "", "archive_mode": "off", "synchronous_standby_names": "",
		"recovery_target_action": "promote",
	}
	for k, v := range settings {
		config[k] = v
	}
	return postgres.Open(s.t, dir, postgres.Options{Major: s.first.Major, Config: config})
}

// promoted waits until recovery has ended.
func (s *site) promoted(server *postgres.Server) {
	s.t.Helper()
	must(s.t, poll.Until(s.ctx, "recovery to end", func(ctx context.Context) (bool, error) {
		in, err := server.Query(ctx, "SELECT pg_is_in_recovery()")
		return in == "f" || in == "false", err
	}))
}

// run runs a program of PostgreSQL 15 or of the system as the account that servers run as.
func (s *site) run(name string, args ...string) error {
	cmd := exec.CommandContext(s.ctx, name, args...)
	if uid, gid, ok := account(); ok {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
	cmd.Dir = s.first.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// account is user postgres if we are root, which no server runs as.
func account() (uid, gid uint32, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, false
	}
	id, errU := strconv.ParseUint(u.Uid, 10, 32)
	group, errG := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), errU == nil && errG == nil
}

// own gives a file to that account.
func own(path string) error {
	if uid, gid, ok := account(); ok {
		return os.Chown(path, int(uid), int(gid))
	}
	return nil
}
