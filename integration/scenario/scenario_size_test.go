package scenario_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"walkeep/integration/oracle"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// TestS09SegmentSizes streams segments of each size, with switches by command and by archive_timeout among them, and
// compares every one with archive_command's copy; walkeep fetch hands out the same bytes.
func TestS09SegmentSizes(t *testing.T) {
	for _, c := range sizesAndMajors() {
		t.Run(fmt.Sprintf("%dMB on %d", c.size, c.major), func(t *testing.T) {
			t.Parallel()
			ctx := limit(t, 3*time.Minute)
			c := newCluster(t, postgres.Options{
				Major: c.major, SegmentSizeMB: c.size, ArchiveDir: true,
				Config: map[string]string{"archive_timeout": "2s"},
			})
			r := c.receive(t)
			stopLoad := c.bench(t, ctx, "-c", "2", "-R", "200")
			_, err := r.WaitState(ctx, "streaming")
			must(t, err)
			_, err = c.SwitchWAL(ctx)
			must(t, err)
			must(t, c.emit(ctx, 2<<20)) // larger than the smallest segment
			timedSwitch(t, ctx, c)
			must(t, c.emit(ctx, 100_000))
			stopLoad()
			names := c.compare(t, ctx, r)
			noGap(t, ctx, r)
			fetchSame(t, ctx, c, names[len(names)-1])
			peak, err := r.PeakMemory()
			must(t, err)
			t.Logf("%d segments equal; peak memory %d MB", len(names), peak>>20)
		})
	}
}

// TestS09LargestSegments streams into a segment of 1 GB. Its tail is served as a whole segment, and the memory is what is in
// use of two raw segments and a compressed one. In a long run the segment is ended, too.
func TestS09LargestSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("takes gigabytes of disk")
	}
	ctx := limit(t, 10*time.Minute)
	c := newCluster(t, postgres.Options{SegmentSizeMB: 1024, ArchiveDir: walkeep.Long(), Config: map[string]string{
		"max_wal_size": "4GB", "min_wal_size": "2GB",
	}})
	r := c.receive(t)
	c.caughtUp(t, ctx, r)
	must(t, c.emit(ctx, 24<<20))
	end := c.caughtUp(t, ctx, r)
	size := c.catalog(t, ctx).SegmentSize()
	name, used := segment.NameAt(1, end, size), size.Offset(end)
	served := c.fetchFile(t, name)
	same(t, served, filepath.Join(c.DataDir(), "pg_wal", name.String()), "-n", fmt.Sprint(used))
	same(t, served, "/dev/zero", "-n", fmt.Sprint(int(size)-used), "-i", fmt.Sprintf("%d:0", used))
	peak, err := r.PeakMemory()
	must(t, err)
	t.Logf("tail of %d MB; peak memory %d MB", used>>20, peak>>20)
	if peak > 512<<20 {
		t.Errorf("the receiver took %d MB for a small load", peak>>20)
	}
	if !walkeep.Long() {
		return
	}
	_, err = c.ArchiveSegment(ctx)
	must(t, err)
	must(t, r.WaitDurable(ctx, name.End()))
	same(t, c.fetchFile(t, name), filepath.Join(c.OracleDir, name.String()))
	peak, err = r.PeakMemory()
	must(t, err)
	t.Logf("whole segment equal; peak memory %d MB", peak>>20)
}

// fetchFile is walkeep fetch into a file, whose path it returns.
func (c *cluster) fetchFile(t testing.TB, name segment.Name) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name.String())
	walkeep.MustRun(t, "fetch", "--repo", c.repo, name.String(), path)
	if info, err := os.Stat(path); err != nil || info.Size() != int64(name.Size) {
		t.Fatalf("%s was fetched with %v, %v", name, info, err)
	}
	return path
}

// same compares files with cmp, which unlike a test with the race detector needs no memory for them.
func same(t testing.TB, a, b string, args ...string) {
	t.Helper()
	if out, err := exec.Command("cmp", append(args, a, b)...).CombinedOutput(); err != nil {
		t.Errorf("cmp %s: %v: %s", b, err, out)
	}
}

type sizeAndMajor struct{ size, major int }

// sizesAndMajors are all combinations under `make matrix`, else each of both once or more.
func sizesAndMajors() []sizeAndMajor {
	if os.Getenv("WALKEEP_MATRIX") == "" && !walkeep.Long() {
		if testing.Short() {
			return []sizeAndMajor{{1, 15}}
		}
		return []sizeAndMajor{{1, 13}, {1, 18}, {16, 15}, {64, 18}}
	}
	var all []sizeAndMajor
	for _, size := range []int{1, 16, 64} {
		for _, major := range postgres.Majors {
			all = append(all, sizeAndMajor{size, major})
		}
	}
	return all
}

// timedSwitch waits until archive_timeout has ended the segment being written.
func timedSwitch(t testing.TB, ctx context.Context, c *cluster) {
	t.Helper()
	// A checkpointer that was asked for nothing since the start sleeps and looks at no clock.
	c.MustExec(t, "CHECKPOINT")
	must(t, c.WaitArchived(ctx, c.MustQuery(t, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")))
}

// fetchSame compares what walkeep fetch hands out with archive_command's copy.
func fetchSame(t testing.TB, ctx context.Context, c *cluster, name string) {
	t.Helper()
	got, err := oracle.Fetch(t, c.repo, c.env...)(ctx, name)
	must(t, err)
	want, err := os.ReadFile(filepath.Join(c.OracleDir, name))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("fetch %s: %v", name, oracle.Diff(got, want))
	}
}
