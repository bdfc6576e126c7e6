package scenario_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/storage/storagetest"
)

// TestS11OnlySynchronousStandby: every commit waits for the receiver, at each level, and none hangs, also while pgbench's do.
func TestS11OnlySynchronousStandby(t *testing.T) {
	t.Parallel()
	ctx := limit(t, 2*time.Minute)
	c := newCluster(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true})
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	r := c.receiveAt(t, through.addr)
	c.caughtUp(t, ctx, r)
	c.synchronous(t, ctx, r)
	stopLoad := c.bench(t, ctx, "-c", "2", "-R", "100")
	c.MustExec(t, "CREATE TABLE waits(id int)")
	for _, level := range []string{"remote_write", "on", "remote_apply"} {
		conn, err := c.Connect(ctx)
		must(t, err)
		_, err = conn.Exec(ctx, "SET synchronous_commit = "+level)
		must(t, err)
		const commits = 20
		began := time.Now()
		for i := range commits {
			_, err := conn.Exec(ctx, "INSERT INTO waits VALUES ($1)", i)
			must(t, err)
		}
		took := time.Since(began)
		must(t, conn.Close(ctx))
		t.Logf("%s: %s a commit", level, (took / commits).Round(100*time.Microsecond))
		if took > commits*time.Second {
			t.Errorf("%d commits with synchronous_commit = %s took %s", commits, level, took)
		}
	}
	stopLoad()
	c.compare(t, ctx, r)
}

// synchronous makes the receiver the only synchronous standby, and returns when server and receiver both know.
func (c *cluster) synchronous(t testing.TB, ctx context.Context, r *walkeep.Receiver) {
	t.Helper()
	must(t, c.AppendConfig(map[string]string{"synchronous_standby_names": "walkeep"}))
	must(t, c.Reload(ctx))
	must(t, poll.Until(ctx, "server to see a synchronous standby", func(ctx context.Context) (bool, error) {
		n, err := c.Query(ctx, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
		return n == "1", err
	}))
	_, err := r.WaitStatus(ctx, "receiver to know that it is one", func(s walkeep.Status) bool {
		return strings.Contains(string(s.Raw), `"synchronous": true`)
	})
	must(t, err)
}

// TestS11NoAcknowledgedCommitIsLost kills primary and receiver at one moment, again and again, while clients insert rows and
// note which inserts were confirmed. What is restored from a base backup and the repository alone has every one of them.
func TestS11NoAcknowledgedCommitIsLost(t *testing.T) {
	rounds := 3
	if walkeep.Long() {
		rounds = 40
	}
	ctx := limit(t, time.Minute+time.Duration(rounds)*time.Minute/2)
	chance := random(t)
	gateway := storagetest.StartGateway(t)
	proxy := fault.Start(t, gateway.Endpoint[len("http://"):])
	c := newBucket(t, postgres.Options{SegmentSizeMB: 1}, gateway, "http://"+proxy.Addr())
	args := []string{"--buffers", "4"}
	r := c.receive(t, args...)
	c.caughtUp(t, ctx, r)
	c.MustExec(t, "CREATE TABLE confirmed(id bigint PRIMARY KEY, filler text)")
	dir, err := c.TempDir()
	must(t, err)
	backup := filepath.Join(dir, "backup")
	must(t, c.BaseBackup(ctx, backup, "-X", "none"))
	c.caughtUp(t, ctx, r)
	c.synchronous(t, ctx, r)
	var ids []int64
	for round := range rounds {
		proxy.Latency(fault.ToServer, 20*time.Millisecond) // what is acknowledged too early is lost for sure
		ids = append(ids, c.insertUntilKilled(t, ctx, round, time.Duration(200+chance.IntN(1500))*time.Millisecond, func() error {
			proxy.Down() // with all that is on its way
			return r.Kill9()
		})...)
		must(t, proxy.Up())
		proxy.Heal()
		restored := c.restore(t, ctx, backup)
		checkConfirmed(t, ctx, restored, ids)
		must(t, restored.Close())
		must(t, c.Start())
		r = c.receive(t, args...)
		_, err := r.WaitState(ctx, "streaming")
		must(t, err)
	}
	t.Logf("%d confirmed commits, all restored after each of %d crashes", len(ids), rounds)
	if len(ids) < 10*rounds {
		t.Errorf("only %d commits: the test proves little", len(ids))
	}
}

// insertUntilKilled lets clients insert for a while, kills primary and receiver under them, and returns the ids whose commit
// was confirmed.
func (c *cluster) insertUntilKilled(t testing.TB, ctx context.Context, round int, after time.Duration, killReceiver func() error) []int64 {
	t.Helper()
	const clients = 4
	confirmed := make([][]int64, clients)
	var inserting sync.WaitGroup
	for client := range clients {
		conn, err := c.Connect(ctx)
		must(t, err)
		inserting.Go(func() {
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			confirmed[client] = insert(ctx, conn, int64(round*clients+client)*1_000_000)
		})
	}
	pause(ctx, after)
	killed := make(chan error, 1)
	go func() { killed <- killReceiver() }()
	must(t, c.Kill9())
	must(t, <-killed)
	inserting.Wait()
	var all []int64
	for _, ids := range confirmed {
		all = append(all, ids...)
	}
	return all
}

// insert inserts rows until it fails, and returns those that did not.
func insert(ctx context.Context, conn *pgx.Conn, first int64) (confirmed []int64) {
	for id := first; ; id++ {
		_, err := conn.Exec(ctx, "INSERT INTO confirmed VALUES ($1, repeat('x', 300))", id)
		if err != nil {
			return confirmed
		}
		confirmed = append(confirmed, id)
	}
}

// restore recovers a copy of the base backup to the end of the archive, which is a bucket, with walkeep fetch as restore_command, and returns the
// server.
func (c *cluster) restore(t testing.TB, ctx context.Context, backup string) *postgres.Server {
	t.Helper()
	dir, err := c.TempDir()
	must(t, err)
	data := filepath.Join(dir, "data")
	if out, err := exec.Command("cp", "-a", backup, data).CombinedOutput(); err != nil {
		t.Fatalf("copy the backup: %v: %s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o600))
	s := postgres.Open(t, data, postgres.Options{Config: map[string]string{
		"restore_command": fmt.Sprintf(`%s fetch --repo '%s?endpoint=%s' %%f %%p || exit $(( $? == 1 ? 1 : 200 ))`,
			walkeep.Binary(t), c.repo, c.s3),
		"synchronous_standby_names": "",
	}})
	must(t, s.StartContext(ctx))
	must(t, poll.Until(ctx, "recovery to end", func(ctx context.Context) (bool, error) {
		recovering, err := s.Query(ctx, "SELECT pg_is_in_recovery()")
		return recovering == "f" || recovering == "false", err
	}))
	return s
}

// checkConfirmed looks for each id in the restored server.
func checkConfirmed(t testing.TB, ctx context.Context, s *postgres.Server, ids []int64) {
	t.Helper()
	conn, err := s.Connect(ctx)
	must(t, err)
	defer func() { must(t, conn.Close(ctx)) }()
	rows, err := conn.Query(ctx, "SELECT id FROM unnest($1::bigint[]) AS id WHERE id NOT IN (SELECT id FROM confirmed)", ids)
	must(t, err)
	missing, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	must(t, err)
	if len(missing) > 0 {
		texts := make([]string, 0, 10)
		for _, id := range missing[:min(len(missing), 10)] {
			texts = append(texts, strconv.FormatInt(id, 10))
		}
		t.Errorf("%d of %d confirmed commits are lost: %s", len(missing), len(ids), strings.Join(texts, " "))
	}
}
