package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/storage/storagetest"
)

// BenchmarkSync runs pgbench -c 8 -N on a primary whose only synchronous standby is pg_receivewal --synchronous, walkeep with
// a directory, or walkeep with the S3 server, in turn. pg_receivewal makes one fsync a commit group where the directory store
// makes two journal commits; the S3 server makes none. WALKEEP_BENCH_SECONDS (15) and WALKEEP_BENCH_ROUNDS (5).
func BenchmarkSync(b *testing.B) {
	s := postgres.Start(b, postgres.Options{Fsync: true, Config: map[string]string{"max_replication_slots": "100", "max_wal_size": "8GB"}})
	if err := s.PgbenchInit(b.Context(), 20); err != nil {
		b.Fatal(err)
	}
	s3 := &bucket{gateway: storagetest.StartGateway(b)}
	standby := s.DSN() + " application_name=bench"
	contestants := []struct {
		name, short string
		run         func(slot string) float64
	}{
		{"pg_receivewal --synchronous", "peer", func(slot string) float64 {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			cmd := exec.Command(debian15+"pg_receivewal", "-D", dir, "-S", slot, "--synchronous", "-d", standby)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = cmd.Wait() }()
			defer func() { _ = cmd.Process.Signal(syscall.SIGINT) }()
			return commitRate(b, s)
		}},
		{"walkeep, directory", "directory", func(slot string) float64 {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			return withReceiver(b, s, standby, "file://"+filepath.Join(dir, "repo"), slot, nil)
		}},
		{"walkeep, S3 (which does not fsync)", "s3", func(slot string) float64 {
			repo, env := s3.next()
			return withReceiver(b, s, standby, repo, slot, env)
		}},
	}
	rates := make([][]float64, len(contestants))
	for round := range setting(b, "WALKEEP_BENCH_ROUNDS", 5) {
		for i, c := range contestants {
			slot := fmt.Sprintf("run_%d_%d", round, i)
			s.MustExec(b, "select pg_create_physical_replication_slot($1, true)", slot)
			standbyNames(b, s, "'bench'")
			rates[i] = append(rates[i], c.run(slot))
			standbyNames(b, s, "''")
			s.MustDropSlot(b, slot)
		}
	}
	fmt.Printf("\nonly synchronous standby, pgbench -c 8 -N, medians of %d\n%-34s %10s %8s\n", len(rates[0]), "", "commits/s", "ratio")
	for i, c := range contestants {
		fmt.Printf("%-34s %10.0f %8.2f\n", c.name, median(rates[i]), median(rates[i])/median(rates[0]))
		b.ReportMetric(median(rates[i])/median(rates[0]), c.short+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

func standbyNames(b *testing.B, s *postgres.Server, names string) {
	b.Helper()
	s.MustExec(b, "alter system set synchronous_standby_names = "+names)
	if err := s.Reload(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func withReceiver(b *testing.B, s *postgres.Server, dsn, repo, slot string, env []string) float64 {
	b.Helper()
	r := receiveFrom(b, dsn, repo, slot, env)
	if _, err := r.WaitState(b.Context(), "streaming"); err != nil {
		b.Fatal(err)
	}
	rate := commitRate(b, s)
	if _, err := r.Term(); err != nil {
		b.Fatal(err)
	}
	return rate
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// commitRate waits until the standby is synchronous, and runs pgbench.
func commitRate(b *testing.B, s *postgres.Server) float64 {
	b.Helper()
	limit, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	err := poll.Until(limit, "a synchronous standby", func(ctx context.Context) (bool, error) {
		state, err := s.Query(ctx, "select coalesce(max(sync_state), '') from pg_stat_replication where application_name = 'bench'")
		return state == "sync", err
	})
	if err != nil {
		b.Fatal(err)
	}
	seconds := setting(b, "WALKEEP_BENCH_SECONDS", 15)
	args := []string{"-n", "-N", "-c", "8", "-j", "2", "-T"}
	warm := exec.Command(debian15+"pgbench", append(args, "3", s.DSN())...)
	if out, err := warm.CombinedOutput(); err != nil {
		b.Fatalf("pgbench: %v\n%s", err, out)
	}
	out, err := exec.Command(debian15+"pgbench", append(args, strconv.Itoa(seconds), s.DSN())...).CombinedOutput()
	match := tps.FindSubmatch(out)
	if err != nil || match == nil {
		b.Fatalf("pgbench: %v\n%s", err, out)
	}
	rate, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return rate
}
