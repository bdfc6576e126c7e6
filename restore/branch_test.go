package restore_test

import (
	"slices"
	"strings"
	"testing"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/segment"
	"walkeep/storage/storagetest"
)

// Timeline 2 leaves timeline 1 in the middle of segment 4.
const (
	switched    = 0x4_8000 // bytes into segment 4
	historyOf2  = "1\t0/448000\tno recovery target specified\n"
	historyOf2b = "1\t0/448000\tanother promotion\n"
)

// forked is an archive whose old primary went on beyond the switch point: segments 4 and 5 of timeline 1 are whole.
func forked(t *testing.T) (one, two *archive) {
	one = newArchive(t, storagetest.NewMemory())
	one.put(2, 3, 4, 5)
	two = one.branch(2, historyOf2)
	two.begin(4)
	return one, two
}

// follow are the options of a restore that has taken these timelines' histories from the archive.
func follow(lineages ...*archive) restore.FetchOptions {
	o := restore.FetchOptions{Mode: restore.ModeRecovery}
	for _, a := range lineages {
		o.Histories = append(o.Histories, a.history())
	}
	return o
}

func (a *archive) history() catalog.History {
	h, err := a.catalog.History(a.t.Context(), a.lineage)
	if err != nil {
		a.t.Fatal(err)
	}
	return h
}

func join(parent []byte, at int, own []byte) []byte {
	return append(slices.Clone(parent[:at]), own[at:]...)
}

// S55: the new primary was lost before its first byte was durable. Its fork segment is its parent's up to the switch point,
// wherever those bytes are.
func TestS55ForkSegmentComposedOfTheParents(t *testing.T) {
	for name, fill := range map[string]func(one *archive){
		"segment": func(one *archive) { one.put(4) },
		"tail":    func(one *archive) { one.link(4, 1000, switched+50) },
		"roll-up": func(one *archive) { one.link(4, 1000, switched, switched+50); one.rollup(4, 0, switched) },
	} {
		t.Run(name, func(t *testing.T) {
			one := newArchive(t, storagetest.NewMemory())
			one.put(2, 3)
			fill(one)
			two := one.branch(2, historyOf2)
			two.begin(4)
			got := two.wantMode("found", follow(two), two.name(4).String())
			if err := sameSegment(got.content, one.raw(4)[:switched]); err != nil {
				t.Error(err)
			}
			two.wantMode("absent", follow(two), two.name(5).String())
			two.wantMode("absent", follow(two), two.name(3).String())
		})
	}
}

// The child's own bytes count as soon as they reach beyond what its parent has.
func TestForkSegmentOfTheChild(t *testing.T) {
	one, two := forked(t)
	raw := join(one.raw(4), switched, two.raw(4))
	two.linkRaw(4, raw, 0, 1000)
	got := two.wantMode("found", follow(two), two.name(4).String())
	if err := sameSegment(got.content, raw[:switched]); err != nil {
		t.Errorf("the child's tail ends before the switch point: %v", err)
	}
	two.linkRaw(4, raw, 1000, switched+777)
	got = two.wantMode("found", follow(two), two.name(4).String())
	if err := sameSegment(got.content, raw[:switched+777]); err != nil {
		t.Errorf("the child's tail ends behind it: %v", err)
	}
	two.putRaw(4, raw)
	got = two.wantMode("found", follow(two), two.name(4).String())
	if err := sameSegment(got.content, raw); err != nil {
		t.Errorf("the child's segment: %v", err)
	}
}

// Two promotions within one segment.
func TestForkSegmentOfGrandchild(t *testing.T) {
	one, two := forked(t)
	three := two.branch(3, historyOf2+"\n2\t0/450000\tno recovery target specified\n")
	three.begin(4)
	raw := join(one.raw(4), switched, two.raw(4))
	two.linkRaw(4, raw, 0, 0x6_0000) // beyond the second switch point too
	got := three.wantMode("found", follow(three), three.name(4).String())
	if err := sameSegment(got.content, raw[:0x5_0000]); err != nil {
		t.Error(err)
	}
}

// Nothing of a timeline that begins at a segment boundary is archived: its first segment is empty rather than absent, since
// PostgreSQL would go on with the parent's.
func TestTimelineFromABoundary(t *testing.T) {
	one := newArchive(t, storagetest.NewMemory())
	one.put(2, 3, 4, 5)
	two := one.branch(2, "1\t0/400000\tno recovery target specified\n")
	two.begin(4)
	got := two.wantMode("found", follow(two), two.name(4).String())
	if err := sameSegment(got.content, nil); err != nil {
		t.Error(err)
	}
	two.wantMode("unknown", follow(two), one.name(4).String())
	two.wantMode("found", follow(two), one.name(3).String())
	two.put(5)
	two.wantMode("hole", follow(two), two.name(4).String())
}

// S46: what the old primary wrote behind the switch point is never served to a restore that follows its child.
func TestS46ParentBeyondTheForkIsRefused(t *testing.T) {
	one, two := forked(t)
	two.put(5)
	for n, want := range map[segment.Number]string{2: "found", 3: "found", 4: "unknown", 5: "unknown", 6: "unknown"} {
		got := one.wantMode(want, follow(two), one.name(n).String())
		if want == "unknown" && !strings.Contains(got.err.Error(), "00000002.history") {
			t.Errorf("%v doesn't name the history", got.err)
		}
	}
	// A restore of timeline 1 itself has not taken the history of timeline 2.
	for n, want := range map[segment.Number]string{3: "found", 4: "found", 5: "found", 6: "absent"} {
		one.wantMode(want, follow(), one.name(n).String())
	}
}

// The parent's archive has to reach the switch point.
func TestHolesBeforeTheFork(t *testing.T) {
	one := newArchive(t, storagetest.NewMemory())
	one.put(2)
	two := one.branch(2, historyOf2)
	two.begin(4)
	one.wantMode("hole", follow(two), one.name(3).String())
	two.wantMode("hole", follow(two), two.name(4).String())
	one.link(3, 500)
	one.wantMode("hole", follow(two), one.name(3).String())
	one.wantMode("found", follow(), one.name(3).String()) // to the end of timeline 1
	one.link(4, 500)
	two.wantMode("hole", follow(two), two.name(4).String())
}

// S58: two promotions that chose the same timeline. A data directory that follows one of them gets that one; without, neither.
func TestS58TwoLineagesOfOneTimeline(t *testing.T) {
	one, two := forked(t)
	other := one.branch(2, historyOf2b)
	other.begin(4)
	two.put(4, 5)
	other.putRaw(4, one.raw(4))
	for _, file := range []string{"00000002.history", two.name(4).String(), two.name(5).String(), two.name(9).String()} {
		got := one.wantFile("unknown", file)
		if !strings.Contains(got.err.Error(), two.lineage.String()) || !strings.Contains(got.err.Error(), other.lineage.String()) {
			t.Errorf("fetch %s: %v doesn't name both", file, got.err)
		}
	}
	for _, a := range []*archive{two, other} {
		got := a.wantMode("found", follow(a), "00000002.history")
		if string(got.content) != string(a.history().Content) {
			t.Errorf("history of %s: %q", a.lineage, got.content)
		}
	}
	two.wantMode("found", follow(two), two.name(5).String())
	two.wantMode("absent", follow(other), two.name(5).String())
	got := two.wantMode("found", follow(other), two.name(4).String())
	if err := sameSegment(got.content, one.raw(4)); err != nil {
		t.Errorf("the other lineage's segment: %v", err)
	}
}

// A data directory with the history of a promotion that was never archived is not that of this archive.
func TestForeignHistory(t *testing.T) {
	one, two := forked(t)
	two.put(4)
	l, err := segment.NewLineage(2, []byte(historyOf2b))
	if err != nil {
		t.Fatal(err)
	}
	o := restore.FetchOptions{Mode: restore.ModeRecovery, Histories: []catalog.History{{Lineage: l, Content: []byte(historyOf2b)}}}
	for _, file := range []string{"00000002.history", two.name(4).String(), two.name(5).String()} {
		got := one.wantMode("unknown", o, file)
		if !strings.Contains(got.err.Error(), l.String()) {
			t.Errorf("fetch %s: %v doesn't name %s", file, got.err, l)
		}
	}
	// A timeline of which nothing was archived, as after a promotion without a receiver.
	l, err = segment.NewLineage(7, []byte(historyOf2))
	if err != nil {
		t.Fatal(err)
	}
	o.Histories = []catalog.History{{Lineage: l, Content: []byte(historyOf2)}}
	one.wantMode("absent", o, "00000007.history")
	one.wantMode("absent", o, "000000070000000000000004")
}
