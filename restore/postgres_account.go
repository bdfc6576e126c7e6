package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An Account is the system user that a server's programs run as. The zero Account is ourselves.
type Account struct {
	Name     string // "" for ourselves
	uid, gid uint32
}

// ServerAccount is ourselves or, if we are root, which PostgreSQL refuses to run as, user postgres or nobody.
func ServerAccount() (Account, error) {
	if os.Geteuid() != 0 {
		return Account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return Account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return Account{Name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return Account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// Switches reports whether the account is another than ours.
func (a Account) Switches() bool { return a.Name != "" }

// Own gives path and all below it to the account.
func (a Account) Own(path string) error {
	if !a.Switches() {
		return nil
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(a.uid), int(a.gid))
	})
}

// Command prepares a program that the account runs in dir. It is killed when ctx ends and, on Linux, when we die. It is in a
// process group of its own: a Ctrl-C on the terminal is for us, and we end it in order. Of our environment it gets all but
// the variables of libpq and walkeep and the language.
func (a Account) Command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "LC_") && !strings.HasPrefix(v, "WALKEEP_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if a.Switches() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a program to its end; what it printed becomes part of the error.
func (a Account) run(ctx context.Context, dir, program string, args ...string) error {
	out, err := a.Command(ctx, dir, program, args...).CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(string(out)))
	}
	return nil
}
