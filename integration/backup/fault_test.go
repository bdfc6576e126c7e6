package backup_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"walkeep/catalog"
	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// flip is a proxy that inverts one bit of what the server sends, at an offset of the first connection that gets so far.
func flip(t testing.TB, target string, offset int64) (addr string, done *atomic.Bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done = new(atomic.Bool)
	var wg sync.WaitGroup
	serve := func(client net.Conn) {
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			return
		}
		wg.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		wg.Go(func() {
			_, _ = io.Copy(&flipper{to: client, left: offset, done: done}, server)
			_ = client.Close()
		})
	}
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serve(client)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return listener.Addr().String(), done
}

type flipper struct {
	to   io.Writer
	left int64
	done *atomic.Bool
}

func (f *flipper) Write(p []byte) (int, error) {
	if n := int64(len(p)); f.left >= 0 && f.left < n && f.done.CompareAndSwap(false, true) {
		p = bytes.Clone(p)
		p[f.left] ^= 1
	}
	f.left -= int64(len(p))
	return f.to.Write(p)
}

// A bit that changes on the way from the server, in a data file, is found by comparing with the manifest.
func TestOneBitOnTheWayIsFound(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 15})
	s.receive()
	s.MustExec(t, "CREATE TABLE zero AS SELECT repeat('x', 2000) AS t FROM generate_series(1, 20000)")
	s.MustExec(t, "CHECKPOINT")
	addr, done := flip(t, s.Addr(), 20<<20+12_345)
	if said := s.refused("--primary", s.DSNAt(addr)); !done.Load() || !strings.Contains(said, "arrived damaged") {
		t.Errorf("flipped: %t; walkeep said:\n%s", done.Load(), said)
	}
}

// A page that is damaged on the server fails the backup, and file and block are named.
func TestDamagedPageIsNamed(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 15, Initdb: []string{"--data-checksums"}})
	s.MustExec(t, "CREATE TABLE t AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 1000)")
	path := s.MustQuery(t, "SELECT pg_relation_filepath('t')")
	_, err := s.Stop(postgres.Fast)
	must(t, err)
	damage(t, filepath.Join(s.DataDir(), path), 3*8192+4000)
	must(t, s.Start())
	said := s.refused("--primary", s.DSN())
	if !strings.Contains(said, path) || !strings.Contains(said, "block 3") {
		t.Errorf("want %s and block 3 named:\n%s", path, said)
	}
}

func damage(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{0xff, 0, 0xff}, offset)
	must(t, err)
	must(t, f.Close())
}

// Without a receiver the backup says so and does not exist. A receiver that starts later does not bring it to life.
func TestNobodyArchives(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 18})
	said := s.refused("--primary", s.DSN(), "--wal-wait", "1s")
	if !strings.Contains(said, "nobody archived any in 1s") || !strings.Contains(said, "walkeep receive") {
		t.Errorf("walkeep said:\n%s", said)
	}
	if parts, err := filepath.Glob(filepath.Join(s.dir, "*", "part", "*", "base.tar.00000")); err != nil || len(parts) != 1 {
		t.Errorf("parts: %q, %v", parts, err)
	}
}

// A backup that archives its own WAL needs no receiver, and leaves no slot behind.
func TestBackupWithItsWAL(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 13})
	s.MustExec(t, "CREATE TABLE t AS SELECT 1 AS n")
	b := s.backup("--with-wal", "--wal-wait", "30s")
	if n := s.MustQuery(t, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
		t.Errorf("%s slots are left", n)
	}
	if got := s.recover(s.extract(b)).MustQuery(t, "SELECT count(*) FROM t"); got != "1" {
		t.Errorf("restored %s rows, want 1", got)
	}
}

// Killed or interrupted half-way, by the system, its user or the network, a backup leaves nothing visible, and the next one is whole.
func TestKilledHalfWay(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 15})
	s.receive()
	for n, signal := range []os.Signal{os.Kill, os.Interrupt} {
		var said bytes.Buffer
		cmd := exec.Command(walkeep.Binary(t), "backup", "--repo", s.repo(), "--primary", s.DSN(), "--rate", "4")
		cmd.Stderr = &said
		must(t, cmd.Start())
		must(t, poll.Until(s.ctx, "the backup to begin", func(context.Context) (bool, error) {
			started, err := filepath.Glob(filepath.Join(s.dir, "*", "part", "*", "start.json"))
			return len(started) == n+1, err
		}))
		must(t, cmd.Process.Signal(signal))
		_ = cmd.Wait()
		s.nothing()
		if signal == os.Interrupt && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "walkeep: interrupted")) {
			t.Errorf("interrupted: exit code %d\n%s", cmd.ProcessState.ExitCode(), said.String())
		}
	}

	proxy := fault.Start(t, s.Addr())
	proxy.ResetAfter(fault.ToClient, 10<<20)
	if said := s.refused("--primary", s.DSNAt(proxy.Addr())); strings.Contains(said, "panic") {
		t.Errorf("walkeep said:\n%s", said)
	}
	b := s.backup()
	if b.DataFiles < 900 {
		t.Errorf("%d files in the backup", b.DataFiles)
	}
	verify(s, s.extract(b))
}

// A backup of a standby comes back too, although its end is not the end of a segment.
func TestBackupOfAStandby(t *testing.T) {
	s := newSite(t, postgres.Options{Major: 15})
	r := s.receive()
	must(t, s.PgbenchInit(s.ctx, 1))
	standby := s.Standby(t, "", postgres.Options{})
	if said := s.refused("--primary", standby.DSN()); !strings.Contains(said, "is a standby, and a primary was asked for") {
		t.Errorf("walkeep said:\n%s", said)
	}
	at, err := s.FlushLSN(s.ctx)
	must(t, err)
	must(t, standby.WaitReplay(s.ctx, at))
	b := s.backup("--from", "standby", "--primary", standby.DSN())
	if b.Source != catalog.FromStandby {
		t.Errorf("source %q", b.Source)
	}
	if secret, kept := b.Settings["primary_conninfo"]; kept {
		t.Errorf("primary_conninfo, which may hold a password, is kept: %s", secret)
	}
	data := s.extract(b)
	verify(s, data)
	s.MustExec(t, "INSERT INTO pgbench_history(tid) VALUES (1)")
	flushed, err := s.FlushLSN(s.ctx)
	must(t, err)
	must(t, r.WaitDurable(s.ctx, flushed))
	if got := s.recover(data).MustQuery(t, "SELECT count(*) FROM pgbench_history"); got != "1" {
		t.Errorf("restored %s rows, want 1", got)
	}
}
