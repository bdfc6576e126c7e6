package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/disk"
	"walkeep/storage/open"
	"walkeep/storage/storagetest"
)

// slotName is walkeep's default.
const slotName = "walkeep"

// A cluster is a server with a repository of its own.
type cluster struct {
	*postgres.Server
	repo string   // URL, as the receiver is told
	env  []string // KEY=value: what walkeep needs to reach the repository
	s3   string   // where the tests themselves reach the S3 server; "" for a directory
}

// newCluster starts a server, and chooses a directory for its repository. PostgreSQL's account may read there, as
// restore_command must.
func newCluster(t testing.TB, o postgres.Options) *cluster {
	t.Helper()
	s := postgres.Start(t, o)
	dir, err := s.TempDir()
	must(t, err)
	must(t, os.Chmod(dir, 0o770|os.ModeSetgid))
	return &cluster{Server: s, repo: "file://" + filepath.Join(dir, "repo")}
}

// newBucket is newCluster with a bucket of gateway for the repository; walkeep reaches it at endpoint.
func newBucket(t testing.TB, o postgres.Options, gateway *storagetest.Gateway, endpoint string) *cluster {
	t.Helper()
	return &cluster{
		Server: postgres.Start(t, o), repo: "s3://" + gateway.Bucket + "/repo", s3: gateway.Endpoint,
		env: []string{"WALKEEP_S3_ENDPOINT=" + endpoint},
	}
}

// receive starts a receiver that connects straight to the server.
func (c *cluster) receive(t testing.TB, args ...string) *walkeep.Receiver {
	t.Helper()
	return c.receiveAt(t, c.Addr(), args...)
}

// receiveAt starts a receiver that reaches the server at another address.
func (c *cluster) receiveAt(t testing.TB, addr string, args ...string) *walkeep.Receiver {
	t.Helper()
	return walkeep.Receive(t, walkeep.ReceiveOptions{Repo: c.repo, DSN: c.DSNAt(addr), Args: args, Env: c.env})
}

// store opens the repository for the test. It is not there before a receiver was.
func (c *cluster) store(ctx context.Context) (storage.Store, error) {
	if c.s3 == "" {
		return disk.Open(c.repo[len("file://"):])
	}
	return open.Existing(ctx, c.repo, func(name string) string {
		if name == "WALKEEP_S3_ENDPOINT" {
			return c.s3
		}
		return os.Getenv(name)
	})
}

// frontier computes from the repository up to where the WAL of timeline 1 is durable; 0 before anything is.
func (c *cluster) frontier(ctx context.Context) (segment.LSN, error) {
	store, err := c.store(ctx)
	if errors.Is(err, storage.ErrNoBucket) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	cat, err := catalog.OpenOnly(ctx, store)
	if errors.Is(err, catalog.ErrNoCluster) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	end, _, err := cat.Frontier(ctx, segment.Lineage{Timeline: 1})
	return end, err
}

// catalog opens the catalog of the repository.
func (c *cluster) catalog(t testing.TB, ctx context.Context) *catalog.Catalog {
	t.Helper()
	store, err := c.store(ctx)
	must(t, err)
	cat, err := catalog.OpenOnly(ctx, store)
	must(t, err)
	return cat
}

// caughtUp waits until all that the server has flushed is durable, by the repository and by the receiver's own word,
// and returns how far that is.
func (c *cluster) caughtUp(t testing.TB, ctx context.Context, r *walkeep.Receiver) segment.LSN {
	t.Helper()
	flushed, err := c.FlushLSN(ctx)
	must(t, err)
	must(t, r.WaitDurable(ctx, flushed))
	must(t, poll.Until(ctx, fmt.Sprintf("the repository to hold WAL up to %s", flushed), func(ctx context.Context) (bool, error) {
		end, err := c.frontier(ctx)
		return end >= flushed, err
	}))
	return flushed
}

// compare ends the segment being written, waits until both archives have it, and compares all segments from the first
// one that the repository has. It returns their names.
func (c *cluster) compare(t testing.TB, ctx context.Context, r *walkeep.Receiver) []string {
	t.Helper()
	last, err := c.ArchiveSegment(ctx)
	must(t, err)
	cat := c.catalog(t, ctx)
	name, err := segment.ParseName(last, cat.SegmentSize())
	must(t, err)
	must(t, r.WaitDurable(ctx, name.End()))
	from, ok, err := cat.Started(ctx, segment.Lineage{Timeline: 1})
	if err != nil || !ok {
		t.Fatalf("the archive has no beginning: %v", err)
	}
	return c.compareRange(t, ctx, segment.NameAt(1, from, cat.SegmentSize()), name)
}

// compareRange compares the segments from first to last, which archive_command and walkeep must both have.
func (c *cluster) compareRange(t testing.TB, ctx context.Context, first, last segment.Name) []string {
	t.Helper()
	for n := first; n.Number <= last.Number; n.Number++ {
		must(t, c.WaitArchived(ctx, n.String()))
	}
	id, err := c.SystemID(ctx)
	must(t, err)
	store, err := c.store(ctx)
	must(t, err)
	report, err := oracle.Compare(ctx, c.OracleDir, oracle.Stored(store, id),
		oracle.Range{From: first.String(), Through: last.String()})
	must(t, err)
	if want := int(last.Number-first.Number) + 1; len(report.Equal) != want {
		t.Fatalf("compared %d segments, want all %d from %s to %s", len(report.Equal), want, first, last)
	}
	return report.Equal
}

// noGap says so if the receiver knows of lost WAL.
func noGap(t testing.TB, ctx context.Context, r *walkeep.Receiver) {
	t.Helper()
	s, err := r.Status(ctx)
	must(t, err)
	if len(s.Gaps) > 0 {
		t.Errorf("the receiver reports gaps: %s", s.Raw)
	}
}

// walFile reads a segment from the server's pg_wal; ok is false if the server has removed it.
func (c *cluster) walFile(t testing.TB, name segment.Name) (content []byte, ok bool) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.DataDir(), "pg_wal", name.String()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false
	}
	must(t, err)
	return content, true
}
