package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
)

func TestMain(m *testing.M) {
	if os.Getenv("WALKEEP_TEST_ORPHAN") != "" {
		orphan()
	}
	goleak.VerifyTestMain(m)
}

func context1m(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestServerKeepsItsDataOverStopRestartAndKill(t *testing.T) {
	for _, major := range postgres.Matrix() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			ctx := context1m(t)
			s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1})
			if v := s.MustQuery(t, "SHOW server_version_num"); !strings.HasPrefix(v, strconv.Itoa(major)) {
				t.Fatalf("server_version_num = %s, want PostgreSQL %d", v, major)
			}
			if v := s.MustQuery(t, "SHOW wal_segment_size"); v != "1MB" {
				t.Errorf("wal_segment_size = %s, want 1MB", v)
			}
			s.MustExec(t, "CREATE TABLE kept AS SELECT 1 AS n")
			took, err := s.Stop(postgres.Fast)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped in %s", took)
			if err := s.Exec(ctx, "SELECT 1"); err == nil {
				t.Error("a stopped server answers")
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			s.MustExec(t, "UPDATE kept SET n = 2")
			flushed, err := s.FlushLSN(ctx)
			if err != nil || flushed == 0 {
				t.Fatalf("flush LSN = %v, %v", flushed, err)
			}
			if err := s.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			if v := s.MustQuery(t, "SELECT n FROM kept"); v != "2" {
				t.Errorf("n = %s after the crash, want 2", v)
			}
			if !strings.Contains(s.Log(0), "was interrupted") {
				t.Errorf("the log knows of no crash:\n%s", s.Log(0))
			}
		})
	}
}

func TestOracleDirFills(t *testing.T) {
	ctx := context1m(t)
	s := postgres.Start(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true})
	name, err := s.ArchiveSegment(ctx)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(s.OracleDir, name))
	if err != nil || info.Size() != 1<<20 {
		t.Errorf("archived segment %s: %v, %v", name, info, err)
	}
}

func TestStandbyFollowsAndIsPromoted(t *testing.T) {
	for _, major := range postgres.Matrix() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			ctx := context1m(t)
			s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, ArchiveDir: true})
			standby := s.Standby(t, "", postgres.Options{})
			s.MustExec(t, "CREATE TABLE followed AS SELECT 7 AS n")
			lsn, err := s.CurrentLSN(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := standby.WaitReplay(ctx, lsn); err != nil {
				t.Fatal(err)
			}
			if err := s.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := standby.Promote(ctx); err != nil {
				t.Fatal(err)
			}
			standby.MustExec(t, "UPDATE followed SET n = n + 1")
			if v := standby.MustQuery(t, "SELECT n FROM followed"); v != "8" {
				t.Errorf("n = %s, want 8", v)
			}
			if err := standby.WaitArchived(ctx, "00000002.history"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPgbenchAndBaseBackup(t *testing.T) {
	ctx := context1m(t)
	s := postgres.Start(t, postgres.Options{})
	if err := s.PgbenchInit(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Pgbench(ctx, "-c", "2", "-t", "20"); err != nil {
		t.Fatal(err)
	}
	dir, err := s.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "backup")
	if err := s.BaseBackup(ctx, copied, "-X", "stream"); err != nil {
		t.Fatal(err)
	}
	again := postgres.Open(t, copied, postgres.Options{})
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	if v := again.MustQuery(t, "SELECT count(*) FROM pgbench_history"); v != "40" {
		t.Errorf("%s transactions in the backup, want 40", v)
	}
	if err := s.Pgbench(ctx, "-f", "/does/not/exist"); err == nil {
		t.Error("a failed pgbench is no error")
	}
}

func TestFrozenServerAnswersNothingUntilThawed(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := s.Exec(ctx, "SELECT 1"); err == nil {
		t.Error("a frozen server answers")
	}
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
	s.MustExec(t, "SELECT 1")
}

// orphan is the body of a process that dies without cleaning up.
func orphan() {
	s, err := postgres.Run(postgres.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.MasterPID(), s.Root)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestServerDiesWithItsTestProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WALKEEP_TEST_ORPHAN=1")
	out, _ := cmd.Output()
	var pid int
	var root string
	if _, err := fmt.Sscan(string(out), &pid, &root); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	err := poll.For(10*time.Second, "the orphaned postmaster to exit", func(context.Context) (bool, error) {
		_, err := os.Stat(filepath.Join(root, "data", "postmaster.pid"))
		return os.IsNotExist(err), nil
	})
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		t.Fatal(err)
	}
}
