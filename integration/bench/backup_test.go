package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/storage/storagetest"
)

// BenchmarkBackup takes base backups of one cluster: pg_basebackup with LZ4 to a directory, walkeep to a directory, walkeep to the
// S3 server, in turn. WALKEEP_BENCH_MB (2048) and WALKEEP_BENCH_ROUNDS (5) make it shorter.
func BenchmarkBackup(b *testing.B) {
	ctx := b.Context()
	s := postgres.Start(b, postgres.Options{Major: 15, Config: map[string]string{"max_wal_size": "4GB", "autovacuum": "off", "wal_level": "replica"}})
	if err := s.PgbenchInit(ctx, max(1, setting(b, "WALKEEP_BENCH_MB", 2048)/15)); err != nil {
		b.Fatal(err)
	}
	s.MustExec(b, "CHECKPOINT")
	size, err := s.Query(ctx, "SELECT sum(pg_database_size(oid)) FROM pg_database")
	if err != nil {
		b.Fatal(err)
	}
	bytes, err := strconv.ParseFloat(size, 64)
	if err != nil {
		b.Fatal(err)
	}
	contestants := backupContestants(b, s)
	costs := make([][]cost, len(contestants))
	for range setting(b, "WALKEEP_BENCH_ROUNDS", 5) {
		for i, c := range contestants {
			costs[i] = append(costs[i], c.run(""))
		}
	}
	gib := bytes / (1 << 30)
	fmt.Printf("\nbase backup of %.2f GiB, medians of %d\n", gib, len(costs[0]))
	fmt.Printf("%-34s %10s %8s %14s %10s\n", "", "MB/s", "ratio", "CPU s/GiB", "peak MB")
	var peer float64
	for i, c := range contestants {
		speed := median(each(costs[i], func(c cost) float64 { return bytes / 1e6 / c.wall.Seconds() }))
		cpu := median(each(costs[i], func(c cost) float64 { return c.cpu.Seconds() / gib }))
		rss := median(each(costs[i], func(c cost) float64 { return c.rssMB }))
		if i == 0 {
			peer = speed
		}
		fmt.Printf("%-34s %10.0f %8.2f %14.2f %10.0f\n", c.name, speed, speed/peer, cpu, rss)
		b.ReportMetric(speed/peer, c.short+"-ratio")
		b.ReportMetric(rss, c.short+"-peak-MB")
	}
	b.ReportMetric(0, "ns/op")
}

func backupContestants(b *testing.B, s *postgres.Server) []contestant {
	s3 := &bucket{gateway: storagetest.StartGateway(b)}
	archive := scratch(b)
	b.Cleanup(func() { _ = os.RemoveAll(archive) })
	toDirectory := "file://" + filepath.Join(archive, "repo")
	receive(b, s, toDirectory, "bench_directory", nil)
	toBucket, env := s3.next()
	receive(b, s, toBucket, "bench_bucket", env)
	return []contestant{
		{"pg_basebackup --compress=client-lz4", "peer", func(string) cost {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			return run(b, s, debian15+"pg_basebackup", "-D", filepath.Join(dir, "base"), "-Ft", "--compress=client-lz4", "-X", "none", "-c", "fast")
		}},
		{"walkeep, directory", "directory", func(string) cost {
			defer dropParts(b, filepath.Join(archive, "repo"))
			return backupWith(b, s, toDirectory, nil)
		}},
		{"walkeep, S3 (which does not fsync)", "s3", func(string) cost {
			defer dropParts(b, filepath.Join(s3.gateway.Dir, "buckets", s3.gateway.Bucket, filepath.Base(toBucket)))
			return backupWith(b, s, toBucket, env)
		}},
	}
}

func backupWith(b *testing.B, s *postgres.Server, repo string, env []string) cost {
	b.Helper()
	cmd := exec.Command(walkeep.Binary(b), "backup", "--repo", repo, "--primary", s.DSN())
	cmd.Env = append(os.Environ(), env...)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("walkeep backup: %v\n%s", err, out)
	}
	return costOf(time.Since(began), cmd.ProcessState)
}

// dropParts makes room: what a round has stored is of no more use.
func dropParts(b *testing.B, repo string) {
	b.Helper()
	parts, err := filepath.Glob(filepath.Join(repo, "*", "part", "*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range parts {
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}
