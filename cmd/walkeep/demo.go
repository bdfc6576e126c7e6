package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walkeep/restore"
)

const demoLong = `demo makes a throwaway PostgreSQL server, protects it with "walkeep receive" into a directory, puts it under load,
kills it with -9 and deletes it. Then it restores the server from a base backup and what the directory holds,
and counts what was lost: first as it is by default, then with walkeep as a synchronous standby.

It needs PostgreSQL 13 to 18 with pg_basebackup, half a minute and 500 MB below $TMPDIR, and no network.
Nothing of it stays behind.`

const demoExample = `  walkeep demo
  walkeep demo --bindir /usr/lib/postgresql/17/bin
  walkeep demo --keep`

// How long clients write before the server is lost.
const (
	demoAsyncLoad = 6 * time.Second
	demoSyncLoad  = 3 * time.Second
)

// demoLimit bounds each step: something hangs then.
const demoLimit = 2 * time.Minute

func newDemoCommand(env *environment) *cobra.Command {
	var bindir string
	var keep bool
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Lose a throwaway PostgreSQL server and get it back",
		Long:    demoLong,
		Example: demoExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), env, bindir, keep)
		},
	}
	cmd.Flags().StringVar(&bindir, "bindir", "", "`DIR` of PostgreSQL's programs (default: the newest in the usual places)")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave repository, base backup and logs where they are")
	return cmd
}

// A demo is one run of the demonstration.
type demo struct {
	screen   *demoScreen
	program  string // walkeep, where the server's account can run it
	dir      string // everything is below it
	server   *restore.Server
	receiver *demoReceiver
	rows     [demoSessions]int // per session, that the server had when the load began
}

func runDemo(ctx context.Context, env *environment, bindir string, keep bool) (err error) {
	// The first signal ends ctx; further ones must not keep us from cleaning up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	installation, err := restore.FindInstallation(ctx, bindir, "initdb", "pg_basebackup")
	if err != nil {
		return withHint(err, "install PostgreSQL with its client programs (Debian: apt-get install postgresql), or give --bindir")
	}
	account, err := restore.ServerAccount()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "walkeep-demo-")
	if err != nil {
		return err
	}
	d := &demo{screen: newDemoScreen(env), dir: dir, server: &restore.Server{Installation: installation, Account: account, RunDir: dir}}
	defer func() {
		if failed := d.close(keep); failed != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", failed))
		}
	}()
	if d.program, err = demoProgram(dir, account); err != nil {
		return err
	}
	d.screen.title("PostgreSQL %s from %s, everything below %s", installation.Version, installation.Bindir, dir)
	if err := errors.Join(account.Own(dir), d.play(ctx)); err != nil {
		return err
	}
	d.screen.next()
	return nil
}

// demoProgram returns the path of walkeep. Another account may not be able to reach ours: it gets a copy.
func demoProgram(dir string, account restore.Account) (string, error) {
	self, err := os.Executable()
	if err != nil || !account.Switches() {
		return self, err
	}
	in, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer in.Close()
	program := filepath.Join(dir, "walkeep")
	out, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return program, errors.Join(err, out.Close())
}

// play is the whole story.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.makePrimary,
		func(ctx context.Context) error { return d.startReceiver(ctx, false) },
		d.baseBackup,
		func(ctx context.Context) error { return d.lose(ctx, demoAsyncLoad, (*demoLoss).asynchronous) },
		d.goSynchronous,
		func(ctx context.Context) error { return d.startReceiver(ctx, true) },
		func(ctx context.Context) error { return d.lose(ctx, demoSyncLoad, (*demoLoss).synchronous) },
	} {
		ctx, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("nothing happens for %s", demoLimit))
		err := step(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

func (d *demo) repo() string { return "file://" + d.path("repo") }

func (d *demo) makePrimary(ctx context.Context) error {
	d.server.DataDir = d.path("primary")
	if err := d.server.Init(ctx); err != nil {
		return err
	}
	// Dynamic shared memory in files: nothing is left in /dev/shm when the server is killed.
	if err := d.server.Configure(map[string]string{"dynamic_shared_memory_type": "mmap", "jit": "off"}); err != nil {
		return err
	}
	if err := d.server.Start(ctx); err != nil {
		return err
	}
	d.screen.step("primary", "made and started, the defaults of initdb")
	return d.exec(ctx, demoTable)
}

// exec runs a statement on the server.
func (d *demo) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, d.server.DSN())
	if err != nil {
		return err
	}
	defer closeQuietly(ctx, conn.Close)
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (d *demo) startReceiver(ctx context.Context, synchronous bool) (err error) {
	d.receiver, err = startDemoReceiver(ctx, d, synchronous)
	if err != nil {
		return err
	}
	if synchronous {
		d.screen.step("receiver", "walkeep receive, again; the server is on another timeline now")
	} else {
		d.screen.step("receiver", "walkeep receive --repo %s", d.repo())
	}
	return nil
}

// baseBackup takes no WAL with it: recovery gets all from the repository.
func (d *demo) baseBackup(ctx context.Context) error {
	cmd := d.server.Account.Command(ctx, d.dir, d.server.Installation.Program("pg_basebackup"),
		"-d", d.server.DSN(), "-D", d.path("base"), "-c", "fast", "-X", "none")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	d.screen.step("base backup", "pg_basebackup, %s, without any WAL", byteSize(float64(treeSize(d.path("base")))))
	return nil
}

func treeSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error { // for the eye only
		if err == nil {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}

func (d *demo) goSynchronous(ctx context.Context) error {
	d.screen.gap("Once more, with walkeep as the synchronous standby: COMMIT returns when the repository has it.")
	if err := d.exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = 'walkeep'"); err != nil {
		return err
	}
	return d.exec(ctx, "SELECT pg_reload_conf()")
}

// close leaves nothing behind, or with keep the files.
func (d *demo) close(keep bool) error {
	err := errors.Join(d.receiver.kill(), d.server.Kill9())
	if keep {
		d.screen.kept(d.dir, d.repo())
		return err
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
