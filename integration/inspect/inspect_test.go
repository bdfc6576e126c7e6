package inspect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// A line is one record.
type line struct {
	said
	Blocks []struct {
		Method string `json:"image_compression"`
	} `json:"blocks"`
}

// said is what is compared of a record.
type said struct {
	LSN         string `json:"lsn"`
	End         string `json:"end"`
	Prev        string `json:"prev"`
	XID         uint32 `json:"xid"`
	Manager     string `json:"rmgr"`
	Op          string `json:"op"`
	Length      int    `json:"length"`
	MainLength  int    `json:"main_length"`
	ImageBytes  int    `json:"image_bytes"`
	Description string `json:"description"`
}

// inspect runs walkeep inspect --json over the range, of long ones for some resource managers only.
func (a archived) inspect(t *testing.T) []line {
	t.Helper()
	args := []string{"inspect", "--repo", a.repo, "--json", a.from.String() + ".." + a.to.String()}
	if walkeep.Long() {
		args = append(args, "--rmgr", strings.Join(few, ","))
	}
	out := run(t, args...)
	var lines []line
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var l line
		must(t, d.Decode(&l))
		lines = append(lines, l)
	}
	return lines
}

// few are the resource managers whose records are compared one by one where there are millions.
var few = []string{"Transaction", "XLOG", "Database", "RelMap", "Storage"}

func run(t *testing.T, args ...string) string {
	t.Helper()
	r := walkeep.Call{Args: args, Limit: deadline()}.Run(t)
	if r.Exit != 0 {
		t.Fatalf("walkeep %q: exit code %d\n%s", args, r.Exit, r.Stderr)
	}
	return r.Stdout
}

// TestServerAgrees: record by record, walkeep inspect says what pg_walinspect says of the same WAL, and pg_waldump where there
// is one.
func TestServerAgrees(t *testing.T) {
	for _, major := range postgres.Matrix() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), deadline())
			defer cancel()
			a := archive(t, ctx, major)
			got := a.inspect(t)
			if major >= 15 {
				compareLines(t, a.walinspect(t, ctx), got)
				a.compareStats(t, ctx)
			}
			if major == 15 {
				a.compareWaldump(t)
			}
			if !walkeep.Long() {
				isConsistent(t, got)
				sawEverything(t, major, got)
			}
			a.compareCommitTimes(t, ctx, got)
			a.compareExport(t)
		})
	}
}

// isConsistent: each record follows the one before, and what it did is known. 13 and 14 have no pg_walinspect.
func isConsistent(t *testing.T, lines []line) {
	t.Helper()
	for i, l := range lines {
		if i > 0 && l.Prev != lines[i-1].LSN {
			t.Fatalf("record at %s follows %s, want %s", l.LSN, l.Prev, lines[i-1].LSN)
		}
		if strings.HasPrefix(l.Op, "UNKNOWN") || strings.HasPrefix(l.Description, l.Op+" (record") {
			t.Errorf("record at %s: %s", l.LSN, l.Description)
		}
	}
}

// walinspect is pg_get_wal_records_info of the range.
func (a archived) walinspect(t *testing.T, ctx context.Context) []said {
	t.Helper()
	conn, err := a.Connect(ctx)
	must(t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SET TimeZone = 'UTC'")
	must(t, err)
	rows, err := conn.Query(ctx, `SELECT start_lsn::text, end_lsn::text, prev_lsn::text, xid::text::int8, resource_manager, record_type,
		record_length, main_data_length, fpi_length, coalesce(description, '') FROM pg_get_wal_records_info($1, $2)
		WHERE NOT $3 OR resource_manager = ANY ($4)`, a.from.String(), a.to.String(), walkeep.Long(), few)
	must(t, err)
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (said, error) {
		var l said
		var xid int64
		err := row.Scan(&l.LSN, &l.End, &l.Prev, &xid, &l.Manager, &l.Op, &l.Length, &l.MainLength, &l.ImageBytes, &l.Description)
		l.XID = uint32(xid)
		return l, err
	})
	must(t, err)
	return lines
}

// compareStats compares the counts and sizes of each record type with pg_get_wal_stats.
func (a archived) compareStats(t *testing.T, ctx context.Context) {
	t.Helper()
	conn, err := a.Connect(ctx)
	must(t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT "resource_manager/record_type" || ' ' || count || ' ' || record_size || ' ' || fpi_size
		FROM pg_get_wal_stats($1, $2, true) WHERE count > 0`, a.from.String(), a.to.String())
	must(t, err)
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	var stats struct {
		Types []struct {
			Manager     string `json:"rmgr"`
			Op          string `json:"op"`
			Records     int64  `json:"records"`
			RecordBytes int64  `json:"record_bytes"`
			ImageBytes  int64  `json:"image_bytes"`
		} `json:"types"`
	}
	out := run(t, "inspect", "--repo", a.repo, "--json", "--stats=record", a.from.String()+".."+a.to.String())
	must(t, json.Unmarshal([]byte(out), &stats))
	var got []string
	for _, s := range stats.Types {
		got = append(got, fmt.Sprintf("%s/%s %d %d %d", s.Manager, s.Op, s.Records, s.RecordBytes, s.ImageBytes))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statistics (-server +walkeep):\n%s", diff)
	}
}

func compareLines(t *testing.T, want []said, got []line) {
	t.Helper()
	differ := 0
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i].said
		w.Description, g.Description = comparable(w.Manager, w.Op, w.Description), comparable(g.Manager, g.Op, describeOnly(g))
		if w == g {
			continue
		}
		t.Errorf("record %d (-server +walkeep):\n%s", i, cmp.Diff(w, g))
		if differ++; differ == 10 {
			t.FailNow()
		}
	}
	if len(want) != len(got) || len(got) < 5000 {
		t.Errorf("%d records, the server has %d", len(got), len(want))
	}
}

// sawEverything: the load had what this test is about.
func sawEverything(t *testing.T, major int, lines []line) {
	t.Helper()
	seen := map[string]bool{}
	for _, l := range lines {
		seen[l.Manager+"/"+l.Op] = true
		for _, b := range l.Blocks {
			seen[b.Method] = true
		}
	}
	want := []string{
		"Transaction/COMMIT", "Transaction/ABORT", "Transaction/PREPARE", "Transaction/COMMIT_PREPARED", "Transaction/ABORT_PREPARED",
		"Transaction/ASSIGNMENT", "Heap/INSERT", "Heap/DELETE", "Heap/UPDATE", "Heap/HOT_UPDATE", "Heap/TRUNCATE", "Heap2/MULTI_INSERT",
		"Heap2/MULTI_INSERT+INIT", "Storage/CREATE", "Database/DROP", "RelMap/UPDATE", "XLOG/CHECKPOINT_ONLINE", "XLOG/RESTORE_POINT",
		"XLOG/FPI", "LogicalMessage/MESSAGE", "pglz",
	}
	switch {
	case major >= 15:
		want = append(want, "Database/CREATE_WAL_LOG", "Database/CREATE_FILE_COPY")
	default:
		want = append(want, "Database/CREATE")
	}
	if major == 15 {
		want = append(want, "lz4", "zstd")
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("the load made no %s", w)
		}
	}
}
