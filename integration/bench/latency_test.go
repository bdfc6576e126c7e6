package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage/storagetest"
)

// BenchmarkLatency measures the time from the server's flush of a byte to its durability, with default settings, under
// pgbench at full rate and at five transactions a second. WALKEEP_BENCH_SECONDS (20).
func BenchmarkLatency(b *testing.B) {
	s := postgres.Start(b, postgres.Options{Fsync: true, Config: map[string]string{"max_wal_size": "4GB"}})
	if err := s.PgbenchInit(b.Context(), 20); err != nil {
		b.Fatal(err)
	}
	s3 := &bucket{gateway: storagetest.StartGateway(b)}
	fmt.Printf("\nfrom flush to durable, seconds\n%-46s %8s %8s %8s\n", "", "median", "p99", "max")
	for _, store := range []string{"directory", "S3"} {
		repo, env := s3.next()
		if store == "directory" {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			repo, env = "file://"+filepath.Join(dir, "repo"), nil
		}
		slot := fmt.Sprintf("latency_%c", store[0]|0x20)
		r := receive(b, s, repo, slot, env)
		flushed, err := s.FlushLSN(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := r.WaitDurable(b.Context(), flushed); err != nil {
			b.Fatal(err)
		}
		for _, load := range []struct {
			name string
			args []string
		}{{"pgbench -c 4", []string{"-c", "4", "-j", "2"}}, {"pgbench, 5 transactions a second", []string{"-c", "1", "-R", "5"}}} {
			latencies := measureLatency(b, s, r, load.args)
			fmt.Printf("%-46s %8.2f %8.2f %8.2f\n", store+", "+load.name,
				at(latencies, 0.5).Seconds(), at(latencies, 0.99).Seconds(), at(latencies, 1).Seconds())
		}
		if _, err := r.Term(); err != nil {
			b.Fatal(err)
		}
		s.MustDropSlot(b, slot)
	}
	b.ReportMetric(0, "ns/op")
}

func at(sorted []time.Duration, quantile float64) time.Duration {
	return sorted[min(len(sorted)-1, int(quantile*float64(len(sorted))))]
}

// measureLatency samples the server's flush position every 20 ms, and when it was durable. Sorted.
func measureLatency(b *testing.B, s *postgres.Server, r *walkeep.Receiver, args []string) []time.Duration {
	b.Helper()
	seconds := setting(b, "WALKEEP_BENCH_SECONDS", 20)
	done := make(chan error, 1)
	go func() {
		done <- s.Pgbench(context.WithoutCancel(b.Context()), append(append([]string{"-n", "-T"}, strconv.Itoa(seconds)), args...)...)
	}()
	conn, err := s.Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(b.Context())) }()
	type sample struct {
		lsn segment.LSN
		at  time.Time
	}
	var open []sample
	var latencies []time.Duration
	last := segment.LSN(0)
	for running := true; running || len(open) > 0; {
		select {
		case err := <-done:
			if err != nil {
				b.Fatal(err)
			}
			running = false
		case <-time.After(20 * time.Millisecond):
		}
		var text string
		if err := conn.QueryRow(b.Context(), "select pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		if lsn, err := segment.ParseLSN(text); err == nil && lsn > last && running {
			open, last = append(open, sample{lsn, now}), lsn
		}
		status, err := r.Status(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for len(open) > 0 && open[0].lsn <= status.Durable() {
			latencies = append(latencies, time.Since(open[0].at))
			open = open[1:]
		}
	}
	slices.Sort(latencies)
	return latencies
}
