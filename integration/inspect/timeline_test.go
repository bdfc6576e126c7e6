package inspect_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
)

// TestAcrossTimelines: a range that begins on the parent and ends on the child is read as the promoted server reads it; the
// parent alone is read to its own end.
func TestAcrossTimelines(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), deadline())
	defer cancel()
	s := postgres.Start(t, postgres.Options{SegmentSizeMB: 1, Config: map[string]string{"wal_keep_size": "512MB"}})
	s.MustExec(t, "CREATE EXTENSION pg_walinspect; CREATE TABLE written (id int)")
	a := archived{Server: s, repo: "file://" + t.TempDir() + "/repo"}
	first := walkeep.Receive(t, walkeep.ReceiveOptions{Repo: a.repo, DSN: s.DSN()})
	_, err := first.WaitState(ctx, "streaming")
	must(t, err)
	a.from, err = s.FlushLSN(ctx)
	must(t, err)
	s.MustExec(t, "INSERT INTO written SELECT generate_series(1, 40000)")
	standby := s.Standby(t, "", postgres.Options{Config: map[string]string{"max_connections": "70"}}) // a parameter change
	s.MustExec(t, "INSERT INTO written SELECT generate_series(1, 3000)")
	fork, err := s.FlushLSN(ctx)
	must(t, err)
	must(t, standby.WaitReplay(ctx, fork))
	must(t, first.WaitDurable(ctx, fork))
	_, err = first.Term()
	must(t, err)
	must(t, standby.Promote(ctx))
	s.MustExec(t, "DELETE FROM written WHERE id < 100") // on timeline 1, which nobody archives any more

	second := walkeep.Receive(t, walkeep.ReceiveOptions{Repo: a.repo, DSN: standby.DSN()})
	_, err = second.WaitState(ctx, "streaming")
	must(t, err)
	standby.MustExec(t, "DELETE FROM written WHERE id BETWEEN 100 AND 2000; INSERT INTO written SELECT generate_series(1, 20000)")
	standby.MustExec(t, "SELECT pg_create_restore_point('end')")
	a.to, err = standby.FlushLSN(ctx)
	must(t, err)
	must(t, second.WaitDurable(ctx, a.to))

	a.Server = standby
	got := a.inspect(t)
	compareLines(t, a.walinspect(t, ctx), got)
	seen := map[string]int{}
	for _, l := range got {
		seen[l.Op]++
	}
	if seen["END_OF_RECOVERY"] != 1 || seen["PARAMETER_CHANGE"] == 0 {
		t.Errorf("%d promotions, %d parameter changes", seen["END_OF_RECOVERY"], seen["PARAMETER_CHANGE"])
	}
	parent := a.lastOf(t, "1")
	if at, err := segment.ParseLSN(parent.End); err != nil || at > fork+page {
		t.Errorf("timeline 1 goes on to %s, archived up to %s", parent.End, fork)
	}
	a.exportsHistory(t)
}

// lastOf returns the last record of a timeline.
func (a archived) lastOf(t *testing.T, timeline string) line {
	t.Helper()
	out := walkeep.MustRun(t, "inspect", "--repo", a.repo, "--json", "--timeline", timeline, a.from.String()+"..")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var l line
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &l))
	return l
}

// exportsHistory: what --out writes of a timeline is enough for a restore by cp.
func (a archived) exportsHistory(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	names := strings.Fields(walkeep.MustRun(t, "inspect", "--repo", a.repo, "--out", dir, a.from.String()+".."))
	if len(names) < 3 || names[0] != "00000002.history" || !strings.HasPrefix(names[1], "00000001") || !strings.HasPrefix(names[len(names)-1], "00000002") {
		t.Fatalf("exported %v", names)
	}
	got, err := os.ReadFile(filepath.Join(dir, names[0]))
	must(t, err)
	want, err := os.ReadFile(filepath.Join(a.DataDir(), "pg_wal", names[0]))
	must(t, err)
	if string(got) != string(want) {
		t.Errorf("history %q, want %q", got, want)
	}
}
