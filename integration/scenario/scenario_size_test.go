package scenario_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"walkeep/integration/oracle"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
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
