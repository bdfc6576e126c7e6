package scenario_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// small keeps little WAL on the server beside what a slot holds, and only as much as tests ask for.
func small(extra ...string) map[string]string {
	config := map[string]string{
		"max_wal_size": "2MB", "min_wal_size": "2MB", "wal_keep_size": "0", "checkpoint_timeout": "1h", "autovacuum": "off",
	}
	for i := 0; i < len(extra); i += 2 {
		config[extra[i]] = extra[i+1]
	}
	return config
}

// TestS14CheckpointBeforeFirstStart: between the slot's creation and the first START_REPLICATION the server goes on for some
// segments and checkpoints. The archive begins where the slot does.
func TestS14CheckpointBeforeFirstStart(t *testing.T) {
	for _, major := range postgres.Matrix() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			ctx := limit(t, time.Minute)
			c := newCluster(t, postgres.Options{Major: major, SegmentSizeMB: 1, ArchiveDir: true, Config: small()})
			c.MustExec(t, "SELECT pg_create_physical_replication_slot($1, true)", slotName)
			first := c.MustQuery(t, "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")
			c.writeSegments(t, ctx, 5)
			r := c.receive(t)
			c.caughtUp(t, ctx, r)
			names := c.compare(t, ctx, r)
			if names[0] != first {
				t.Errorf("the archive begins with %s, the slot with %s", names[0], first)
			}
			noGap(t, ctx, r)
		})
	}
}

// writeSegments writes n segments with a checkpoint behind each, so that the server removes all it needn't keep.
func (c *cluster) writeSegments(t testing.TB, ctx context.Context, n int) {
	t.Helper()
	for range n {
		_, err := c.ArchiveSegment(ctx)
		must(t, err)
		c.MustExec(t, "CHECKPOINT")
	}
}

// A comeback is a receiver that finds its slot gone, or made anew by somebody, after a time without it.
type comeback struct {
	name    string
	major   int
	keep    string // wal_keep_size
	newSlot bool   // somebody has made the slot anew, behind what the archive needs
	gap     bool   // what the archive needs is gone
}

// TestS15SlotMissing: the archive has a frontier, the server no slot.
func TestS15SlotMissing(t *testing.T) {
	for _, c := range []comeback{
		{name: "WAL there", major: 15, keep: "64MB"},
		{name: "WAL gone", major: 18, keep: "0", gap: true},
		{name: "WAL gone", major: 13, keep: "0", gap: true},
	} {
		t.Run(fmt.Sprintf("%s on %d", c.name, c.major), c.run)
	}
}

// TestS18FrontierBehindSlot: the slot is there, and keeps only what lies beyond the frontier.
func TestS18FrontierBehindSlot(t *testing.T) {
	for _, c := range []comeback{
		{name: "WAL there", major: 18, keep: "64MB", newSlot: true},
		{name: "WAL gone", major: 15, keep: "0", newSlot: true, gap: true},
	} {
		t.Run(fmt.Sprintf("%s on %d", c.name, c.major), c.run)
	}
}

// run archives for a while with a tail in the end, leaves, loses the slot, and comes back.
func (o comeback) run(t *testing.T) {
	t.Parallel()
	ctx := limit(t, 2*time.Minute)
	c := newCluster(t, postgres.Options{Major: o.major, SegmentSizeMB: 1, ArchiveDir: true, Config: small("wal_keep_size", o.keep)})
	first := c.receive(t)
	_, err := first.WaitState(ctx, "streaming")
	must(t, err)
	c.writeSegments(t, ctx, 2)
	must(t, c.emit(ctx, 200_000))
	frontier := c.caughtUp(t, ctx, first)
	exit, err := first.Term()
	if exit != 0 || err != nil {
		t.Fatalf("exit code %d, %v", exit, err)
	}
	frontier = max(frontier, c.mustFrontier(t, ctx))
	c.MustDropSlot(t, slotName)
	c.writeSegments(t, ctx, 4)
	if o.newSlot {
		c.MustExec(t, "SELECT pg_create_physical_replication_slot($1, true)", slotName)
	}
	oldest := c.oldestSegment(t)
	if gone := oldest.Start() > frontier; gone != o.gap {
		t.Fatalf("the server's oldest segment is %s, the frontier %s: not what this test is about", oldest, frontier)
	}

	r := c.receive(t)
	if !o.gap {
		names := c.compare(t, ctx, r)
		noGap(t, ctx, r)
		t.Logf("resumed at %s; %d segments equal", frontier, len(names))
		return
	}
	want := catalog.Gap{Lineage: segment.Lineage{Timeline: 1}, From: frontier, To: oldest.Start(), Kind: catalog.GapLost}
	_, err = r.WaitState(ctx, "gap")
	must(t, err)
	c.writeSegments(t, ctx, 2)
	flushed := c.caughtUp(t, ctx, r)
	c.checkGapShown(t, ctx, r, want)
	c.checkAround(t, ctx, want, flushed)
	t.Logf("lost [%s, %s), streaming on at %s", want.From, want.To, flushed)
}

func (c *cluster) mustFrontier(t testing.TB, ctx context.Context) segment.LSN {
	t.Helper()
	end, err := c.frontier(ctx)
	must(t, err)
	return end
}

// oldestSegment is the first segment the server still has.
func (c *cluster) oldestSegment(t testing.TB) segment.Name {
	t.Helper()
	name, err := segment.ParseName(c.MustQuery(t, "SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"), segment.MinSize)
	must(t, err)
	return name
}

// checkGapShown looks for the gap wherever an operator could: the status, the health, the listing, the repository.
func (c *cluster) checkGapShown(t testing.TB, ctx context.Context, r *walkeep.Receiver, want catalog.Gap) {
	t.Helper()
	text := fmt.Sprintf("%q,%q", want.From.String(), want.To.String())
	s, err := r.Status(ctx)
	must(t, err)
	if shown := gapText(t, s.Gaps...); shown != text {
		t.Errorf("/status.json shows the gaps %s, want %s", shown, text)
	}
	if code, body, err := r.Get(ctx, "/healthz"); err != nil || code != http.StatusServiceUnavailable || !strings.Contains(string(body), want.From.String()) {
		t.Errorf("health %d %s %v, want 503 and where WAL is missing", code, body, err)
	}
	var list struct {
		Clusters []struct{ Gaps []json.RawMessage }
	}
	must(t, json.Unmarshal([]byte(walkeep.MustRun(t, "list", "--repo", c.repo, "--json")), &list))
	if len(list.Clusters) != 1 || gapText(t, list.Clusters[0].Gaps...) != text {
		t.Errorf("walkeep list shows %+v, want %s", list, text)
	}
	gaps, err := c.catalog(t, ctx).Gaps(ctx)
	must(t, err)
	if len(gaps) != 1 || gaps[0].Lineage != want.Lineage || gaps[0].From != want.From || gaps[0].To != want.To || gaps[0].Kind != want.Kind {
		t.Errorf("recorded gaps %v, want %v", gaps, want)
	}
}

func gapText(t testing.TB, raw ...json.RawMessage) string {
	t.Helper()
	var texts []string
	for _, m := range raw {
		var g struct{ From, To string }
		must(t, json.Unmarshal(m, &g))
		texts = append(texts, fmt.Sprintf("%q,%q", g.From, g.To))
	}
	return strings.Join(texts, " ")
}

// checkAround compares all that is not in the gap: the segments before, the tail up to it, the segments behind.
func (c *cluster) checkAround(t testing.TB, ctx context.Context, gap catalog.Gap, flushed segment.LSN) {
	t.Helper()
	cat := c.catalog(t, ctx)
	size := cat.SegmentSize()
	begin, _, err := cat.Started(ctx, gap.Lineage)
	must(t, err)
	torn := segment.NameAt(1, gap.From, size)
	before, last := torn, segment.NameAt(1, flushed, size)
	before.Number--
	last.Number--
	c.compareRange(t, ctx, segment.NameAt(1, begin, size), before)
	c.compareRange(t, ctx, segment.NameAt(1, gap.To, size), last)
	got, err := cat.Tail(ctx, gap.Lineage, torn, nil)
	must(t, err)
	want, err := os.ReadFile(filepath.Join(c.OracleDir, torn.String()))
	must(t, err)
	if len(got) != size.Offset(gap.From) || !bytes.HasPrefix(want, got) {
		t.Errorf("the tail before the gap has %d bytes, want the first %d of archive_command's copy", len(got), size.Offset(gap.From))
	}
}

// TestS17SlotHeldByAnother: pg_receivewal holds the slot. The receiver waits, says for whom, and takes over.
func TestS17SlotHeldByAnother(t *testing.T) {
	t.Parallel()
	ctx := limit(t, time.Minute)
	c := newCluster(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true})
	c.MustExec(t, "SELECT pg_create_physical_replication_slot($1, true)", slotName)
	dir := t.TempDir()
	leave := background(t, ctx, func(ctx context.Context) error {
		return exec.CommandContext(ctx, postgres.Tool("pg_receivewal"), "-d", c.DSN(), "-D", dir, "-S", slotName).Run()
	})
	var holder string
	must(t, poll.Until(ctx, "pg_receivewal to hold the slot", func(ctx context.Context) (_ bool, err error) {
		holder, err = c.Query(ctx, "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots")
		return holder != "0", err
	}))
	r := c.receive(t)
	s, err := r.WaitState(ctx, "waiting")
	must(t, err)
	if !strings.Contains(s.Message, holder) {
		t.Errorf("message %q does not name process %s, which holds the slot", s.Message, holder)
	}
	c.writeSegments(t, ctx, 2)
	pause(ctx, 3*time.Second) // some attempts
	if now := c.MustQuery(t, "SELECT active_pid FROM pg_replication_slots"); now != holder {
		t.Errorf("process %s holds the slot now, before it was %s", now, holder)
	}
	s, err = r.Status(ctx)
	must(t, err)
	if s.State != "waiting" {
		t.Errorf("state %s while another process holds the slot", s.State)
	}
	leave()
	_, err = r.WaitState(ctx, "streaming")
	must(t, err)
	c.compare(t, ctx, r)
	noGap(t, ctx, r)
	if log := c.Log(0); strings.Contains(log, "DROP_REPLICATION_SLOT") || strings.Contains(log, "CREATE_REPLICATION_SLOT") {
		t.Error("the slot was dropped or made anew")
	}
}
