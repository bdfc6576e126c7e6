package replication

import "time"

// gathering decides how long the next link waits for company. When a link becomes durable, the sessions whose commits it
// carried go on, and most of them will soon commit again. A link put at once would carry only what came meanwhile, and they
// would wait for the one behind it. So the next link waits until as many commits have come as the last one carried, but no
// longer than half of the time that a link takes. A single session never waits: its link carries one commit.
type gathering struct {
	carried  uint64    // commits in the last link
	taken    uint64    // commits up to the last link, since the stream began
	finished time.Time // when the last link became durable
}

// linked notes a link that has become durable, with the commits up to its end.
func (g *gathering) linked(commits uint64, now time.Time) {
	g.carried, g.taken, g.finished = commits-g.taken, commits, now
}

// wait returns how long to wait for more commits. A link takes median.
func (g *gathering) wait(commits uint64, median time.Duration, now time.Time) time.Duration {
	if commits-g.taken >= g.carried {
		return 0
	}
	return max(0, median/2-now.Sub(g.finished))
}
