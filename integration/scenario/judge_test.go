package scenario_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"walkeep/integration/poll"
	"walkeep/segment"
)

// A judge compares what is acknowledged with what the repository holds at that moment.
type judge struct {
	t       testing.TB
	ctx     context.Context
	cluster *cluster

	mu     sync.Mutex
	proven segment.LSN // durable for sure
	seen   int         // acknowledgements that needed a look at the repository
	behind int         // first statuses of a stream that acknowledge less than its start
	early  int         // acknowledgements of what was not durable
}

func (c *cluster) judge(t testing.TB, ctx context.Context) *judge {
	return &judge{t: t, ctx: ctx, cluster: c}
}

// status judges a status of the receiver.
func (j *judge) status(s status) {
	if s.Flush != s.Apply || s.Flush > s.Write {
		j.t.Errorf("status with write %s, flush %s, apply %s: want flush = apply <= write", s.Write, s.Flush, s.Apply)
	}
	j.acknowledged("status", s.Flush)
	if s.First && s.Flush < s.Start {
		j.mu.Lock()
		j.behind++
		j.mu.Unlock()
	}
}

// acknowledged judges one position, acknowledged before now.
func (j *judge) acknowledged(how string, lsn segment.LSN) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if lsn <= j.proven || j.ctx.Err() != nil {
		return
	}
	j.seen++
	var err error
	// Segments become whole and tails vanish while we look: only what stays short is short.
	for range 3 {
		var end segment.LSN
		if end, err = j.cluster.frontier(j.ctx); err == nil && lsn <= end {
			j.proven = end
			return
		}
		if err == nil {
			err = fmt.Errorf("the repository ends at %s", end)
		}
	}
	if j.ctx.Err() == nil {
		j.early++
		if j.early <= 5 {
			j.t.Errorf("%s acknowledges %s: %v", how, lsn, err)
		}
	}
}

// watchSlot looks at the server's slot until stopped: restart_lsn is what the server believes of us.
func (j *judge) watchSlot() (stop func()) {
	return background(j.t, j.ctx, func(ctx context.Context) error {
		conn, err := j.cluster.Connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		var first segment.LSN // the server's own choice when the slot was made
		return every(ctx, 2*poll.Interval, func(time.Duration) error {
			var text string
			err := conn.QueryRow(ctx, "SELECT coalesce(max(restart_lsn), '0/0')::text FROM pg_replication_slots WHERE slot_name = $1",
				slotName).Scan(&text)
			if err != nil {
				return err
			}
			lsn, err := segment.ParseLSN(text)
			if first == 0 {
				first = lsn
			}
			if lsn > first {
				j.acknowledged("the slot", lsn)
			}
			return err
		})
	})
}

// reconnectsBehind is how many streams began with an acknowledgement below their start: with segments still queued.
func (j *judge) reconnectsBehind() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.behind
}
