package replication

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"walkeep/segment"
)

const reconcileSize segment.Size = 16 << 20

// branch builds a branch from a line such as "1@3000028 2@5000000 3": each timeline with where it ended.
func branch(t testing.TB, line string) Branch {
	t.Helper()
	var forks []segment.Fork
	history := ""
	fields := strings.Fields(line)
	var timeline, last uint32
	for i, f := range fields {
		if i == len(fields)-1 {
			if _, err := fmt.Sscanf(f, "%d", &timeline); err != nil {
				t.Fatal(err)
			}
			break
		}
		var at uint64
		if _, err := fmt.Sscanf(f, "%d@%x", &last, &at); err != nil {
			t.Fatal(err)
		}
		forks = append(forks, segment.Fork{Timeline: segment.Timeline(last), Switch: segment.LSN(at)})
		history += fmt.Sprintf("%d\t%s\tno recovery target specified\n", last, segment.LSN(at))
	}
	l, err := segment.NewLineage(segment.Timeline(timeline), []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	return Branch{Lineage: l, Forks: forks}
}

// ancestry builds the branches of all timelines in a line.
func ancestry(t testing.TB, line string) []Branch {
	t.Helper()
	fields := strings.Fields(line)
	var all []Branch
	for i := range fields {
		parts := append([]string{}, fields[:i+1]...)
		parts[i], _, _ = strings.Cut(parts[i], "@")
		all = append(all, branch(t, strings.Join(parts, " ")))
	}
	return all
}

// TestReconcile is the matrix, case by case.
func TestReconcile(t *testing.T) {
	for _, c := range []struct {
		name     string
		server   string
		flush    segment.LSN
		standby  bool
		archived []string // "line frontier", "!" in front: abandoned
		want     Action
		timeline segment.Timeline
		start    segment.LSN
		verify   segment.LSN
		rivals   int
		reason   string
	}{
		{name: "nothing archived", server: "1", flush: 0x5000000, want: ActionBegin, timeline: 1},
		{name: "A same timeline, server ahead", server: "1", flush: 0x5000000, archived: []string{"1 =4800000"}, want: ActionStream, timeline: 1, start: 0x4000000},
		{name: "A same timeline, equal, at a boundary", server: "1", flush: 0x5000000, archived: []string{"1 =5000000"}, want: ActionStream, timeline: 1, start: 0x5000000},
		{name: "B standby behind", server: "1", flush: 0x4700000, standby: true, archived: []string{"1 =4800000"}, want: ActionWait, timeline: 1, reason: "caught up"},
		{name: "B primary behind", server: "1", flush: 0x4700000, archived: []string{"1 =4800000"}, want: ActionRefuse, timeline: 1, reason: "lost WAL"},
		{name: "C fork after the frontier", server: "1@5000100 2", flush: 0x6000000, archived: []string{"1 =4800000"}, want: ActionStream, timeline: 1, start: 0x4000000},
		{name: "C fork exactly at the frontier", server: "1@4800000 2", flush: 0x6000000, archived: []string{"1 =4800000"}, want: ActionStream, timeline: 2, start: 0x4000000, verify: 0x4800000},
		{name: "S21 fork at a segment boundary that is the next start", server: "1@5000000 2", flush: 0x6000000, archived: []string{"1 =5000000"}, want: ActionStream, timeline: 2, start: 0x5000000},
		{name: "D S23 fork before the frontier", server: "1@4100000 2", flush: 0x6000000, archived: []string{"1 =7800000"}, want: ActionStream, timeline: 2, start: 0x4000000, verify: 0x4100000},
		{name: "E S22 several forks, first timeline unfinished", server: "1@5000100 2@6000200 3", flush: 0x9000000, archived: []string{"1 =4800000"}, want: ActionStream, timeline: 1, start: 0x4000000},
		{name: "E S22 several forks, at the first", server: "1@5000100 2@6000200 3", flush: 0x9000000, archived: []string{"1 =5000100"}, want: ActionStream, timeline: 2, start: 0x5000000, verify: 0x5000100},
		{name: "E S22 several forks, middle one archived", server: "1@5000100 2@6000200 3", flush: 0x9000000, archived: []string{"1 =5000100", "1@5000100 2 =6000200"}, want: ActionStream, timeline: 3, start: 0x6000000, verify: 0x6000200},
		{name: "E S22 skipped timeline numbers", server: "1@5000100 5", flush: 0x9000000, archived: []string{"1 =5000100"}, want: ActionStream, timeline: 5, start: 0x5000000, verify: 0x5000100},
		{name: "E two forks in one segment", server: "1@5000100 2@5000200 3", flush: 0x9000000, archived: []string{"1 =5000100"}, want: ActionStream, timeline: 2, start: 0x5000000, verify: 0x5000100},
		{name: "again in the segment of the fork", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =5000100", "1@5000100 2 =5000180"}, want: ActionStream, timeline: 2, start: 0x5000000, verify: 0x5000100},
		{name: "beyond the segment of the fork", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =5000100", "1@5000100 2 =7000180"}, want: ActionStream, timeline: 2, start: 0x7000000},
		{name: "parent unfinished, its child begun by push", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =3800000", "1@5000100 2 =6000000"}, want: ActionStream, timeline: 1, start: 0x3000000},
		{name: "grandparent unfinished", server: "1@5000100 2@7000100 3", flush: 0x9000000, archived: []string{"1 =3800000", "1@5000100 2 =6000000", "1@5000100 2@7000100 3 =8000000"}, want: ActionStream, timeline: 1, start: 0x3000000},
		{name: "parent of which nothing is left", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =1000000", "1@5000100 2 =7000180"}, want: ActionStream, timeline: 2, start: 0x7000000},
		{name: "F S24 old primary came back", server: "1", flush: 0x9000000, archived: []string{"1 =5000100", "1@5000100 2 =6000000"}, want: ActionRefuse, timeline: 1, reason: "old primary"},
		{name: "F standby that has not followed yet", server: "1", flush: 0x9000000, standby: true, archived: []string{"1 =5000100", "1@5000100 2 =6000000"}, want: ActionWait, timeline: 1, reason: "has followed"},
		{name: "F after the newer one was abandoned", server: "1", flush: 0x9000000, archived: []string{"1 =5000100", "!1@5000100 2 =6000000"}, want: ActionStream, timeline: 1, start: 0x5000000},
		{name: "F sibling with a higher number", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =5000100", "1@5000200 3 =6000000"}, want: ActionRefuse, timeline: 2, reason: "two servers were promoted"},
		{name: "G S58 two promotions, one number", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =5000200", "1@5000200 2 =6000000"}, want: ActionStream, timeline: 2, start: 0x5000000, verify: 0x5000100, rivals: 1},
		{name: "G after one was abandoned", server: "1@5000100 2", flush: 0x9000000, archived: []string{"1 =5000200", "!1@5000200 2 =6000000"}, want: ActionStream, timeline: 2, start: 0x5000000, verify: 0x5000100},
		{name: "G S58 the abandoned one comes back", server: "1@5000200 2", flush: 0x9000000, archived: []string{"1 =5000200", "!1@5000200 2 =6000000"}, want: ActionRefuse, timeline: 2, reason: "abandoned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := Position{Ancestry: ancestry(t, c.server), Flush: c.flush, Standby: c.standby}
			var archived []Archived
			for _, a := range c.archived {
				line, frontier, _ := strings.Cut(a, " =")
				line, abandoned := strings.CutPrefix(line, "!")
				var at uint64
				if _, err := fmt.Sscanf(frontier, "%x", &at); err != nil {
					t.Fatal(err)
				}
				archived = append(archived, Archived{Branch: branch(t, line), Begin: 0x1000000, Frontier: segment.LSN(at), Abandoned: abandoned})
			}
			d := Reconcile(server, archived, reconcileSize)
			if d.Action != c.want || d.Branch.Lineage.Timeline != c.timeline || d.Start != c.start || d.Verify != c.verify || len(d.Rivals) != c.rivals {
				t.Errorf("got %+v", d)
			}
			if !strings.Contains(d.Reason, c.reason) || c.reason == "" && d.Reason != "" {
				t.Errorf("reason %q, want one with %q", d.Reason, c.reason)
			}
		})
	}
}

// TestReconcileNeverSkips: whatever is archived, a stream begins at a segment boundary, at or before the Frontier of its
// lineage, and on the server's own ancestry; and no WAL of that ancestry between the archive and the stream is left out.
func TestReconcileNeverSkips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "timelines")
		line, at := "", uint64(0x3000000)
		for i := 1; i < n; i++ {
			at += uint64(rapid.IntRange(8, 3<<24).Draw(t, "length"))
			line += fmt.Sprintf("%d@%x ", i, at)
		}
		server := Position{Flush: segment.LSN(at) + segment.LSN(rapid.IntRange(1, 3<<24).Draw(t, "last"))}
		server.Ancestry = ancestryOf(t, line+fmt.Sprint(n))
		var archived []Archived
		known := rapid.IntRange(0, n).Draw(t, "known")
		for i := range known {
			frontier := segment.LSN(0x3000000 + rapid.IntRange(0, 8<<24).Draw(t, "frontier"))
			archived = append(archived, Archived{Branch: server.Ancestry[i], Frontier: frontier})
		}
		d := Reconcile(server, archived, reconcileSize)
		if d.Action != ActionStream {
			return
		}
		if reconcileSize.Offset(d.Start) != 0 {
			t.Fatalf("starts at %s, not at a segment", d.Start)
		}
		for i, b := range server.Ancestry {
			if b.Lineage != d.Branch.Lineage {
				if a, ok := find(archived, b.Lineage); ok && i+1 < n && unfinished(server, i, a) {
					t.Fatalf("starts timeline %d although timeline %d is archived up to %s only", uint32(d.Branch.Lineage.Timeline), i+1, a.Frontier)
				}
				continue
			}
			if a, ok := find(archived, b.Lineage); ok && d.Start > a.Frontier {
				t.Fatalf("starts at %s, beyond %s", d.Start, a.Frontier)
			} else if !ok && i > 0 {
				fork, _ := b.end(server.Ancestry[i-1].Lineage.Timeline)
				parent, _ := find(archived, server.Ancestry[i-1].Lineage)
				if d.Start != reconcileSize.Start(fork) || parent.Frontier < fork {
					t.Fatalf("starts timeline %d at %s although its parent is archived up to %s of %s", i+1, d.Start, parent.Frontier, fork)
				}
			}
			return
		}
		t.Fatalf("streams %s, which is none of the server's", d.Branch.Lineage)
	})
}

func ancestryOf(t *rapid.T, line string) []Branch {
	var all []Branch
	fields := strings.Fields(line)
	var forks []segment.Fork
	history := ""
	for _, f := range fields {
		var timeline uint32
		var at uint64
		n, _ := fmt.Sscanf(f, "%d@%x", &timeline, &at)
		l, err := segment.NewLineage(segment.Timeline(timeline), []byte(history))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Branch{Lineage: l, Forks: append([]segment.Fork(nil), forks...)})
		if n == 2 {
			forks = append(forks, segment.Fork{Timeline: segment.Timeline(timeline), Switch: segment.LSN(at)})
			history += fmt.Sprintf("%d\t%s\tx\n", timeline, segment.LSN(at))
		}
	}
	return all
}
