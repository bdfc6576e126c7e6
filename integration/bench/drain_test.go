package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/segment"
	"walkeep/storage/storagetest"
)

// BenchmarkDrain drains WAL that a slot has held: pg_receivewal with LZ4 to a directory, walkeep to a directory, walkeep to
// the S3 server, in turn. WALKEEP_BENCH_MB (2048) and WALKEEP_BENCH_ROUNDS (5) make it shorter.
func BenchmarkDrain(b *testing.B) {
	for _, load := range []struct {
		name string
		make func(*testing.B, *postgres.Server, int)
	}{{"pgbench", pgbenchWAL}, {"random", randomWAL}} {
		b.Run(load.name, func(b *testing.B) { drain(b, load.name, load.make) })
	}
}

func drain(b *testing.B, name string, load func(*testing.B, *postgres.Server, int)) {
	ctx := b.Context()
	s := postgres.Start(b, postgres.Options{Config: map[string]string{
		"max_wal_size": "1GB", "wal_keep_size": "64GB", "max_replication_slots": "100", "autovacuum": "off", "synchronous_commit": "off",
	}})
	s.MustExec(b, "select pg_create_physical_replication_slot('held', true)")
	began, err := s.CurrentLSN(ctx)
	if err != nil {
		b.Fatal(err)
	}
	load(b, s, setting(b, "WALKEEP_BENCH_MB", 2048))
	if _, err := s.SwitchWAL(ctx); err != nil {
		b.Fatal(err)
	}
	end, err := s.FlushLSN(ctx)
	if err != nil {
		b.Fatal(err)
	}
	end = segment.Size(16 << 20).Start(end)
	gib := float64(end-began) / (1 << 30)
	contestants := drainContestants(b, s, end)
	costs := make([][]cost, len(contestants))
	for round := range setting(b, "WALKEEP_BENCH_ROUNDS", 5) {
		for i, c := range contestants {
			slot := fmt.Sprintf("run_%d_%d", round, i)
			s.MustExec(b, "select pg_copy_physical_replication_slot('held', $1)", slot)
			costs[i] = append(costs[i], c.run(slot))
			s.MustDropSlot(b, slot)
		}
	}
	fmt.Printf("\n%s: %.2f GiB of WAL, medians of %d\n", name, gib, len(costs[0]))
	fmt.Printf("%-34s %10s %8s %14s %10s\n", "", "MB/s", "ratio", "CPU s/GiB", "peak MB")
	var peer float64
	for i, c := range contestants {
		speed := median(each(costs[i], func(c cost) float64 { return gib * 1073.741824 / c.wall.Seconds() }))
		cpu := median(each(costs[i], func(c cost) float64 { return c.cpu.Seconds() / gib }))
		rss := median(each(costs[i], func(c cost) float64 { return c.rssMB }))
		if i == 0 {
			peer = speed
		}
		fmt.Printf("%-34s %10.0f %8.2f %14.2f %10.0f\n", c.name, speed, speed/peer, cpu, rss)
		b.ReportMetric(speed/peer, c.short+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

func each(costs []cost, value func(cost) float64) []float64 {
	var values []float64
	for _, c := range costs {
		values = append(values, value(c))
	}
	return values
}

type contestant struct {
	name, short string
	run         func(slot string) cost
}

func drainContestants(b *testing.B, s *postgres.Server, end segment.LSN) []contestant {
	s3 := &bucket{gateway: storagetest.StartGateway(b)}
	return []contestant{
		{"pg_receivewal --compress=lz4", "peer", func(slot string) cost {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			return run(b, s, debian15+"pg_receivewal", "-D", dir, "-S", slot, "--compress=lz4", "--no-loop", "-E", (end - 1).String())
		}},
		{"walkeep, directory", "directory", func(slot string) cost {
			dir := scratch(b)
			defer os.RemoveAll(dir)
			return drainWith(b, s, "file://"+filepath.Join(dir, "repo"), slot, nil, end)
		}},
		{"walkeep, S3 (which does not fsync)", "s3", func(slot string) cost {
			repo, env := s3.next()
			defer os.RemoveAll(filepath.Join(s3.gateway.Dir, "buckets", s3.gateway.Bucket, filepath.Base(repo)))
			return drainWith(b, s, repo, slot, env, end)
		}},
	}
}

// scratch is a directory on the disk that holds the data too.
func scratch(b *testing.B) string {
	dir, err := os.MkdirTemp("", "walkeep-bench-")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

func drainWith(b *testing.B, s *postgres.Server, repo, slot string, env []string, end segment.LSN) cost {
	b.Helper()
	began := time.Now()
	r := receive(b, s, repo, slot, env)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	if err := r.WaitDurable(ctx, end); err != nil {
		b.Fatalf("%v\n%s", err, r.Log())
	}
	wall := time.Since(began)
	if _, err := r.Term(); err != nil {
		b.Fatal(err)
	}
	return costOf(wall, r.State())
}

// pgbenchWAL makes WAL as pgbench's TPC-B load does, which compresses unusually well.
func pgbenchWAL(b *testing.B, s *postgres.Server, mb int) {
	ctx := b.Context()
	if err := s.PgbenchInit(ctx, 30); err != nil {
		b.Fatal(err)
	}
	for written(b, s) < mb {
		if err := s.Pgbench(ctx, "-n", "-N", "-c", "4", "-j", "2", "-T", "5"); err != nil {
			b.Fatal(err)
		}
	}
}

// randomWAL makes WAL of rows of random text and bytea, which compresses by about a half.
func randomWAL(b *testing.B, s *postgres.Server, mb int) {
	s.MustExec(b, "create table r(id bigserial, t text, b bytea)")
	s.MustExec(b, "alter table r alter t set storage external, alter b set storage external")
	for written(b, s) < mb {
		s.MustExec(b, `insert into r(t, b) select md5(random()::text)||md5(random()::text)||md5(random()::text),
			decode(md5(random()::text)||md5(random()::text), 'hex') from generate_series(1, 100000)`)
	}
}

func written(b *testing.B, s *postgres.Server) int {
	lsn, err := s.CurrentLSN(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return int(lsn >> 20)
}
