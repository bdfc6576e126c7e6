package postgres

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// debianBin holds PostgreSQL 15 with every client tool (package postgresql-15).
const debianBin = "/usr/lib/postgresql/15/bin"

// Majors are the major versions the harness can start, oldest first.
var Majors = []int{13, 14, 15, 16, 17, 18}

// Matrix are the versions that a test of all versions is to run on: under `make matrix` (WALKEEP_MATRIX=1) every one,
// otherwise the oldest, the newest and Debian's; with -short Debian's only.
func Matrix() []int {
	switch {
	case os.Getenv("WALKEEP_MATRIX") != "":
		return Majors
	case testing.Short():
		return []int{15}
	}
	return []int{13, 15, 18}
}

// ModuleRoot returns the directory of walkeep's go.mod, wherever the test runs.
func ModuleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Bindir returns the directory of initdb, pg_ctl and postgres of a major version: Debian's package for 15,
// otherwise the binaries `make deps` unpacks below integration/pg.
func Bindir(major int) (string, error) {
	if major == 15 {
		if _, err := os.Stat(filepath.Join(debianBin, "postgres")); err == nil {
			return debianBin, nil
		}
	}
	native := filepath.Join(ModuleRoot(), "integration", "pg", "node_modules", fmt.Sprintf("pg%d", major), "native")
	if _, err := os.Stat(filepath.Join(native, "bin", "postgres")); err != nil {
		return "", fmt.Errorf("PostgreSQL %d is not installed: run make deps: %w", major, err)
	}
	if os.Geteuid() == 0 && !reachable(native) {
		return copyNative(native, major)
	}
	return filepath.Join(native, "bin"), nil
}

// Tool returns the path of a client program (pgbench, pg_basebackup, pg_waldump, psql ...), of PostgreSQL 15.
func Tool(name string) string { return filepath.Join(debianBin, name) }

// reachable says whether any user may enter path: a checkout below /root is closed to user postgres.
func reachable(path string) bool {
	for ; path != "/" && path != "."; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err != nil || info.Mode()&0o001 == 0 {
			return false
		}
	}
	return true
}

// copyNative puts a copy of the binaries where every user can run them, once per checkout and version.
func copyNative(native string, major int) (string, error) {
	info, err := os.Stat(filepath.Join(native, "bin", "postgres"))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("walkeep-pg%d-%d-%d", major, info.Size(), info.ModTime().Unix()))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, "bin"), nil
	}
	tmp, err := os.MkdirTemp("", "walkeep-pg-copy-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if out, err := exec.Command("cp", "-a", native, filepath.Join(tmp, "native")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy %s: %w: %s", native, err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "native"), dir); err != nil && !os.IsExist(err) {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "bin"), nil
}

// An account is the system user servers run as. The zero value is ourselves.
type account struct {
	switches bool
	uid, gid uint32
}

// serverAccount is user postgres when we are root, which PostgreSQL refuses to run as, else ourselves.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, fmt.Errorf("PostgreSQL does not run as root and there is no user postgres: run make deps: %w", err)
	}
	uid, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid, errG := strconv.ParseUint(u.Gid, 10, 32)
	if errU != nil || errG != nil {
		return account{}, fmt.Errorf("user postgres has uid %q, gid %q", u.Uid, u.Gid)
	}
	return account{switches: true, uid: uint32(uid), gid: uint32(gid)}, nil
}

// own gives path and all below it to the account.
func (a account) own(path string) error {
	if !a.switches {
		return nil
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(a.uid), int(a.gid))
	})
}

// command prepares a program run by the account. death is the signal it gets when we die first.
func (a account) command(death syscall.Signal, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: death}
	if a.switches {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// environment is ours without libpq's variables, and with messages in English.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PG") && !strings.HasPrefix(e, "LC_") {
			env = append(env, e)
		}
	}
	return env
}
