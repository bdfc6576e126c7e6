package inspect_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// compareWaldump compares with Debian's pg_waldump: the statistics as a whole, of the lines what isn't in other words.
func (a archived) compareWaldump(t *testing.T) {
	t.Helper()
	dump := func(args ...string) []string {
		args = append(args, "-p", filepath.Join(a.DataDir(), "pg_wal"), "-s", a.from.String(), "-e", a.to.String())
		cmd := exec.Command(postgres.Tool("pg_waldump"), args...)
		cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("pg_waldump: %v", err)
		}
		return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	}
	ours := func(args ...string) []string {
		args = append([]string{"inspect", "--repo", a.repo, a.from.String() + ".." + a.to.String()}, args...)
		return strings.Split(strings.TrimRight(run(t, args...), "\n"), "\n")
	}
	for _, kind := range []string{"--stats", "--stats=record"} {
		got := ours(kind)
		got = got[:len(got)-2] // pg_waldump has no line of commits
		sameLines(t, kind, dump(kind)[1:], got[1:])
	}
	filters := [][]string{nil, {"--rmgr", "Heap"}, {"--limit", "100"}}
	if walkeep.Long() {
		filters = [][]string{{"--rmgr", "Transaction"}, {"--limit", "100000"}}
	}
	for _, f := range filters {
		got, want := ours(f...), dump(f...)
		for i := range got {
			got[i] = plainLine(got[i])
		}
		for i := range want {
			want[i] = plainLine(want[i])
		}
		sameLines(t, strings.Join(f, " "), want, got)
	}
}

func sameLines(t *testing.T, what string, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Errorf("%s: line %d\npg_waldump: %s\nwalkeep:    %s", what, i, want[i], got[i])
			return
		}
	}
	if len(want) != len(got) {
		t.Errorf("%s: %d lines, pg_waldump has %d", what, len(got), len(want))
	}
}

// plainLine leaves out what a line says between operation and blocks.
func plainLine(s string) string {
	head, description, _ := strings.Cut(strings.TrimRight(s, " "), " desc: ")
	op, _, _ := strings.Cut(description, " ")
	if at := strings.Index(description, ", blkref #"); at >= 0 {
		return head + strings.TrimSuffix(op, ",") + description[at:]
	}
	return head + op
}

// compareExport: exported segments are the server's own files. The last one is still being written.
func (a archived) compareExport(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	out := walkeep.MustRun(t, "inspect", "--repo", a.repo, "--out", dir, a.from.String()+".."+a.to.String())
	names := strings.Fields(out)
	if len(names) < 2 || !strings.HasSuffix(names[len(names)-1], ".partial") {
		t.Fatalf("exported %v", names)
	}
	for i, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		want, err := os.ReadFile(filepath.Join(a.DataDir(), "pg_wal", strings.TrimSuffix(name, ".partial")))
		must(t, err)
		n := len(want)
		if i == len(names)-1 {
			n = int(a.to & (16<<20 - 1))
		}
		if len(got) != len(want) || string(got[:n]) != string(want[:n]) {
			t.Errorf("%s differs from the server's file", name)
		}
	}
}

// compareCommitTimes compares with what track_commit_timestamp kept.
func (a archived) compareCommitTimes(t *testing.T, ctx context.Context, lines []line) {
	t.Helper()
	var xids, times []string
	for _, l := range lines {
		isElsewhere := strings.Contains(l.Description, "; origin:") // the server keeps the origin's time
		if l.Manager == "Transaction" && l.Op == "COMMIT" && l.XID != 0 && !isElsewhere {
			at, _, _ := strings.Cut(strings.TrimPrefix(l.Description, "COMMIT "), ";")
			xids, times = append(xids, fmt.Sprint(l.XID)), append(times, at)
		}
	}
	conn, err := a.Connect(ctx)
	must(t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT to_char(pg_xact_commit_timestamp(x::xid) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US UTC')
		FROM unnest($1::text[]) WITH ORDINALITY AS u (x, n) ORDER BY n`, xids)
	must(t, err)
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	sameLines(t, "commit times", want, times)
	if len(times) < 300 {
		t.Errorf("only %d commits", len(times))
	}
}
