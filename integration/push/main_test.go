// Package push_test lets real servers archive with walkeep push, alone and beside walkeep receive, and brings old archives
// and lost WAL in.
package push_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/disk"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": storagetest.GatewayAccess, "AWS_SECRET_ACCESS_KEY": storagetest.GatewaySecret,
		"AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var first = segment.Lineage{Timeline: 1}

// A cluster is a server that archives into its OracleDir, and a repository.
type cluster struct {
	*postgres.Server
	t    testing.TB
	ctx  context.Context
	repo string   // URL
	env  []string // KEY=value: what walkeep needs to reach the repository
}

// newCluster starts a server with segments of 1 MB. Its account may write to the repository, a directory.
func newCluster(t testing.TB, major int, config map[string]string) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, ArchiveDir: true, Config: config})
	dir, err := s.TempDir()
	must(t, err)
	must(t, os.Chmod(dir, 0o777))
	return &cluster{Server: s, t: t, ctx: ctx, repo: "file://" + filepath.Join(dir, "repo")}
}

// archiveWithPush makes the server call walkeep push as well, for each file that the oracle has taken.
func (c *cluster) archiveWithPush() {
	c.t.Helper()
	command := fmt.Sprintf("( %s ) && env %s %s push --repo %s %%p", c.MustQuery(c.t, "SHOW archive_command"),
		strings.Join(c.env, " "), walkeep.Binary(c.t), c.repo)
	c.MustExec(c.t, "ALTER SYSTEM SET archive_command = '"+strings.ReplaceAll(command, "'", "''")+"'")
	must(c.t, c.Reload(c.ctx))
}

// write fills and ends n segments, and waits until the server has archived them. It returns the last one's name.
func (c *cluster) write(on *postgres.Server, n int) string {
	c.t.Helper()
	last := ""
	for range n {
		on.MustExec(c.t, "SELECT count(pg_logical_emit_message(true, 'load', repeat(md5(i::text), 40))) FROM generate_series(1, 300) i")
		var err error
		last, err = on.ArchiveSegment(c.ctx)
		must(c.t, err)
	}
	must(c.t, on.WaitArchived(c.ctx, last))
	return last
}

func (c *cluster) receive(args ...string) *walkeep.Receiver {
	c.t.Helper()
	return walkeep.Receive(c.t, walkeep.ReceiveOptions{Repo: c.repo, DSN: c.DSN(), Args: args, Env: c.env})
}

// walkeep runs a command on the repository and returns what it printed.
func (c *cluster) walkeep(args ...string) walkeep.Result {
	c.t.Helper()
	r := walkeep.Call{Args: args, Env: append([]string{"WALKEEP_REPO=" + c.repo}, c.env...)}.Run(c.t)
	if r.Exit != 0 {
		c.t.Fatalf("walkeep %q: exit code %d\n%s%s", args, r.Exit, r.Stdout, r.Stderr)
	}
	return r
}

func (c *cluster) catalog() *catalog.Catalog {
	c.t.Helper()
	store, err := disk.Open(strings.TrimPrefix(c.repo, "file://"))
	must(c.t, err)
	cat, err := catalog.OpenOnly(c.ctx, store)
	must(c.t, err)
	return cat
}

// archived waits until the repository holds a file that the oracle has: both are written by one archive_command.
func (c *cluster) archived(store storage.Store, name string) {
	c.t.Helper()
	id, err := c.SystemID(c.ctx)
	must(c.t, err)
	stored := oracle.Stored(store, id)
	must(c.t, poll.Until(c.ctx, name+" in the repository", func(ctx context.Context) (bool, error) {
		_, err := stored(ctx, name)
		return err == nil, nil
	}))
}

// compare compares all that the oracle has with the repository, and returns what was equal.
func (c *cluster) compare(store storage.Store, within oracle.Range) []string {
	c.t.Helper()
	id, err := c.SystemID(c.ctx)
	must(c.t, err)
	report, err := oracle.Compare(c.ctx, c.OracleDir, oracle.Stored(store, id), within)
	must(c.t, err)
	return report.Equal
}
