package push_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage/open"
	"walkeep/storage/storagetest"
)

// archive_command alone makes an archive of the same bytes, through a promotion.
func TestArchiveCommand(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := newCluster(t, major, nil)
			c.archiveWithPush()
			standby := c.Standby(t, "", postgres.Options{})
			last := c.write(c.Server, 6)
			cat := c.catalog()
			c.archived(cat.Store(), last)
			must(t, c.Server.Kill9())
			must(t, standby.Promote(c.ctx))
			last = c.write(standby, 4)
			c.Server = standby
			c.archived(cat.Store(), last)
			equal := c.compare(cat.Store(), oracle.Range{})
			if !slices.Contains(equal, "00000002.history") || len(equal) < 11 {
				t.Errorf("compared only %v", equal)
			}
			branches, err := cat.Branches(c.ctx)
			must(t, err)
			name, err := segment.ParseName(last, segment.MinSize)
			must(t, err)
			if len(branches) != 2 || branches[1].Frontier < name.End() {
				t.Errorf("archived: %+v, want timeline 2 up to %s", branches, name.End())
			}
			failed := standby.MustQuery(t, "SELECT failed_count || coalesce(last_failed_wal, '') FROM pg_stat_archiver")
			if failed != "0" {
				t.Errorf("archive_command failed: %s\n%s", failed, standby.Log(20))
			}
			if log := standby.Log(1000); strings.Contains(log, "walkeep: ") {
				t.Errorf("push is not quiet:\n%s", log)
			}
		})
	}
}

// The stream and archive_command store the same segments, and neither notices the other.
func TestPushBesideReceive(t *testing.T) {
	gateway := storagetest.StartGateway(t)
	c := newCluster(t, 18, nil)
	c.repo, c.env = "s3://"+gateway.Bucket+"/repo", []string{
		"WALKEEP_S3_ENDPOINT=" + gateway.Endpoint, "AWS_ACCESS_KEY_ID=" + storagetest.GatewayAccess,
		"AWS_SECRET_ACCESS_KEY=" + storagetest.GatewaySecret, "AWS_EC2_METADATA_DISABLED=true",
	}
	r := c.receive()
	_, err := r.WaitState(c.ctx, "streaming")
	must(t, err)
	c.archiveWithPush()
	last := c.write(c.Server, 12)
	name, err := segment.ParseName(last, segment.MinSize)
	must(t, err)
	must(t, r.WaitDurable(c.ctx, name.End()))
	store, err := open.Existing(c.ctx, c.repo, func(name string) string {
		return map[string]string{"WALKEEP_S3_ENDPOINT": gateway.Endpoint}[name]
	})
	must(t, err)
	c.archived(store, last)
	if equal := c.compare(store, oracle.Range{}); len(equal) < 12 {
		t.Errorf("compared only %v", equal)
	}
	s, err := r.Status(c.ctx)
	must(t, err)
	if s.State != "streaming" || len(s.Gaps) > 0 || s.Reconnects > 0 {
		t.Errorf("receiver: %s", s.Raw)
	}
	if failed := c.MustQuery(t, "SELECT failed_count::text FROM pg_stat_archiver"); failed != "0" {
		t.Errorf("archive_command failed %s times\n%s", failed, c.Log(20))
	}
}

// An old archive comes in, and receive goes on behind it.
func TestOldArchiveThenReceive(t *testing.T) {
	c := newCluster(t, 15, map[string]string{"wal_keep_size": "64MB"})
	c.write(c.Server, 8)
	c.MustExec(t, "SELECT pg_create_physical_replication_slot('walkeep', true)")
	files, err := os.ReadDir(c.OracleDir)
	must(t, err)
	out := c.walkeep("push", c.OracleDir)
	if !strings.Contains(out.Stdout, fmt.Sprintf("%d stored", len(files))) {
		t.Errorf("%d files, push says %q", len(files), out.Stdout)
	}
	begin, _, err := c.catalog().Started(c.ctx, first)
	must(t, err)
	c.write(c.Server, 3) // not in the archive yet
	r := c.receive()
	last := c.write(c.Server, 1)
	name, err := segment.ParseName(last, segment.MinSize)
	must(t, err)
	must(t, r.WaitDurable(c.ctx, name.End()))
	cat := c.catalog()
	c.archived(cat.Store(), last)
	if equal := c.compare(cat.Store(), oracle.Range{}); len(equal) < 12 {
		t.Errorf("compared only %v", equal)
	}
	now, _, err := cat.Started(c.ctx, first)
	must(t, err)
	gaps, err := cat.Gaps(c.ctx)
	must(t, err)
	if end, _, err := cat.Frontier(c.ctx, first); now != begin || len(gaps) != 0 || err != nil || end < name.End() {
		t.Errorf("the archive begins at %s, was %s; gaps %v; ends at %s, %v", now, begin, gaps, end, err)
	}
}

// The slot is lost while receive is down: a gap. The files turn up, and push heals it under the receiver's eyes.
func TestS16GapHealedByPush(t *testing.T) {
	c := newCluster(t, 18, map[string]string{"max_wal_size": "2MB", "min_wal_size": "2MB", "wal_keep_size": "0", "checkpoint_timeout": "1h", "autovacuum": "off"})
	r := c.receive()
	_, err := r.WaitState(c.ctx, "streaming")
	must(t, err)
	c.write(c.Server, 2)
	if exit, err := r.Term(); exit != 0 || err != nil {
		t.Fatalf("exit code %d, %v", exit, err)
	}
	must(t, poll.Until(c.ctx, "the slot to be free", func(ctx context.Context) (bool, error) {
		active, err := c.Query(ctx, "SELECT active::text FROM pg_replication_slots")
		return active == "false", err
	}))
	c.MustDropSlot(t, "walkeep")
	for range 5 {
		c.write(c.Server, 1)
		c.MustExec(t, "CHECKPOINT")
	}
	r = c.receive()
	_, err = r.WaitState(c.ctx, "gap")
	must(t, err)
	unhealthy, _, err := r.Get(c.ctx, "/healthz")
	must(t, err)
	open := c.openGaps()
	if len(open) != 1 || unhealthy == 200 {
		t.Fatalf("gaps %v, health %d", open, unhealthy)
	}
	var files []string
	for at := open[0].From; at < open[0].To; at = segment.MinSize.Start(at) + segment.LSN(segment.MinSize) {
		files = append(files, filepath.Join(c.OracleDir, segment.NameAt(1, at, segment.MinSize).String()))
	}
	half := c.walkeep(append([]string{"push"}, files[:len(files)-1]...)...)
	if strings.Contains(half.Stdout, "healed") || !strings.Contains(half.Stdout, "gap still open") {
		t.Errorf("push of all but one says %q", half.Stdout)
	}
	healed := c.walkeep("push", files[len(files)-1])
	if !strings.Contains(healed.Stdout, "gap healed") {
		t.Errorf("push of the last one says %q", healed.Stdout)
	}
	if open := c.openGaps(); len(open) != 0 {
		t.Errorf("still open: %v", open)
	}
	_, err = r.WaitStatus(c.ctx, "no gap", func(s walkeep.Status) bool { return s.State == "streaming" && len(s.Gaps) == 0 })
	must(t, err)
	if code, body, err := r.Get(c.ctx, "/healthz"); code != 200 || err != nil {
		t.Errorf("health %d: %s, %v", code, body, err)
	}
	last := c.write(c.Server, 1)
	store := c.catalog().Store()
	c.archived(store, last)
	c.compare(store, oracle.Range{})
}

func (c *cluster) openGaps() []catalog.OpenGap {
	c.t.Helper()
	open, err := c.catalog().OpenGaps(c.ctx)
	must(c.t, err)
	return open
}

// S58: two standbys are promoted by mistake. Both are archived, in red, until one command gives one up.
func TestS58RivalsResolved(t *testing.T) {
	c := newCluster(t, 15, map[string]string{"wal_keep_size": "64MB"})
	right := c.Standby(t, "", postgres.Options{})
	wrong := c.Standby(t, "", postgres.Options{})
	r := c.receive()
	c.write(c.Server, 2)
	flushed, err := c.FlushLSN(c.ctx)
	must(t, err)
	must(t, r.WaitDurable(c.ctx, flushed))
	must(t, wrong.WaitReplay(c.ctx, flushed))
	must(t, wrong.Promote(c.ctx))
	c.MustExec(t, "CREATE TABLE elsewhere()") // the two fork at different places
	flushed, err = c.FlushLSN(c.ctx)
	must(t, err)
	must(t, r.WaitDurable(c.ctx, flushed))
	must(t, right.WaitReplay(c.ctx, flushed))
	must(t, c.Server.Kill9())
	must(t, right.Promote(c.ctx))
	if exit, err := r.Term(); exit != 0 || err != nil {
		t.Fatalf("exit code %d, %v", exit, err)
	}
	wrong.OracleDir, right.OracleDir = filepath.Join(wrong.Root, "nowhere"), filepath.Join(right.Root, "nowhere")
	loser, end := c.pushOwn(wrong)
	c.Server = right
	r = c.receive()
	s, err := r.WaitState(c.ctx, "fork")
	must(t, err)
	tree := c.walkeep("timeline", "list").Stdout
	if strings.Count(tree, "RIVAL of") != 2 || !strings.Contains(s.Message, "timeline abandon") {
		t.Errorf("%s\n%s", s.Message, tree)
	}
	if got, _, err := c.catalog().Frontier(c.ctx, loser); err != nil || got < end {
		t.Errorf("the loser is archived up to %s, want %s (%v)", got, end, err)
	}
	c.walkeep("timeline", "abandon", loser.String(), "--reason", "promoted by mistake", "--apply")
	_, err = r.WaitState(c.ctx, "streaming")
	must(t, err)
	must(t, poll.Until(c.ctx, "health", func(ctx context.Context) (bool, error) {
		code, _, err := r.Get(ctx, "/healthz")
		return code == 200, err
	}))
}

// pushOwn pushes the history and the first whole segment of a promoted server's timeline from its own pg_wal. It returns the
// lineage, and where that segment ends.
func (c *cluster) pushOwn(s *postgres.Server) (segment.Lineage, segment.LSN) {
	c.t.Helper()
	name := s.MustQuery(c.t, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
	s.MustExec(c.t, "SELECT pg_switch_wal()")
	wal := filepath.Join(s.DataDir(), "pg_wal")
	history := filepath.Join(wal, name[:8]+".history")
	c.walkeep("push", history, filepath.Join(wal, name))
	n, err := segment.ParseName(name, segment.MinSize)
	must(c.t, err)
	content, err := os.ReadFile(history)
	must(c.t, err)
	l, err := segment.NewLineage(n.Timeline, content)
	must(c.t, err)
	return l, n.End()
}
