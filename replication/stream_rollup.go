package replication

import (
	"context"
	"log/slog"
	"sync"

	"walkeep/segment"
	"walkeep/uploader"
)

// rollupFanout is how many links, or roll-ups of the level below, one roll-up replaces: docs/adr/0001-tail-rollups.md. A
// tail of n links is read with at most rollupFanout-1 objects on each of log32(n) levels, and each byte is stored once per
// level.
const rollupFanout = 32

// rolled is a stored roll-up: it ends at offset end and stands for about fanout^(level+1) links.
type rolled struct {
	end   int
	level int
}

// rollups decides which roll-ups the chain of one segment gets: they count to the base rollupFanout.
type rollups struct {
	stored []rolled // contiguous from offset 0, levels not rising
	links  int      // since the last one
}

// plan says where a roll-up up to offset end has to begin, and what is stored once it is.
func (r *rollups) plan(end int) (from int, stored []rolled) {
	stored = append([]rolled(nil), r.stored...)
	level := 0
	for {
		n := len(stored)
		for n > 0 && stored[n-1].level == level {
			n--
		}
		if len(stored)-n < rollupFanout-1 {
			break
		}
		stored = stored[:n]
		level++
	}
	if n := len(stored); n > 0 {
		from = stored[n-1].end
	}
	return from, append(stored, rolled{end: end, level: level})
}

// roller puts roll-ups beside the links, one at a time. While one is on its way the chain goes on, and the next is larger.
type roller struct {
	lane    *uploader.Lane
	log     *slog.Logger
	running sync.WaitGroup

	mu   sync.Mutex
	busy bool
	name segment.Name // of the last one
	done []rolled     // what is stored since then; nil: nothing new
}

// linked notes a link of the segment that ends at offset end, and starts a roll-up if one is due.
func (r *roller) linked(ctx context.Context, plan *rollups, open openSegment, end int) {
	plan.links++
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil && r.name == open.name {
		plan.stored = r.done
	}
	r.done = nil
	if r.busy || plan.links < rollupFanout {
		return
	}
	plan.links = 0
	from, stored := plan.plan(end)
	r.busy, r.name = true, open.name
	open.buf.Retain()
	r.running.Go(func() {
		defer open.buf.Release()
		err := r.lane.Rollup(ctx, open.name, open.name.Start()+segment.LSN(from), open.buf.Bytes[from:end])
		if err != nil && ctx.Err() == nil {
			r.log.Warn("roll-up not stored, the links are: a restore reads more objects", "segment", open.name.String(), "error", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.busy = false
		if err == nil {
			r.done = stored
		}
	})
}
