package replication

import (
	"testing"
	"time"
)

func TestGathering(t *testing.T) {
	var g gathering
	now := time.Unix(1000, 0)
	const median = 10 * time.Millisecond
	if w := g.wait(1, median, now); w != 0 {
		t.Errorf("the first link waits %s", w)
	}
	g.linked(1, now)
	if w := g.wait(2, median, now); w != 0 {
		t.Errorf("a single session waits %s", w)
	}
	g.linked(6, now) // five commits
	if w := g.wait(8, median, now.Add(2*time.Millisecond)); w != 3*time.Millisecond {
		t.Errorf("two commits behind a link of five wait %s, want 3ms", w)
	}
	if w := g.wait(11, median, now.Add(2*time.Millisecond)); w != 0 {
		t.Errorf("five commits behind a link of five wait %s", w)
	}
	if w := g.wait(8, median, now.Add(6*time.Millisecond)); w != 0 {
		t.Errorf("after half the time two commits wait %s more", w)
	}
	g.linked(8, now) // two: the others have gone
	if w := g.wait(10, median, now); w != 0 {
		t.Errorf("two commits behind a link of two wait %s", w)
	}
}
