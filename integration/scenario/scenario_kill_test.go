package scenario_test

import (
	"context"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// TestS01ReceiverKilledAtRandomPoints kills the receiver again and again while pgbench runs: nothing is acknowledged
// before it is in the repository, and the archive is whole in the end.
func TestS01ReceiverKilledAtRandomPoints(t *testing.T) {
	kills := 12
	if walkeep.Long() {
		kills = 200
	}
	ctx := limit(t, time.Minute+time.Duration(kills)*5*time.Second)
	chance := random(t)
	c := newCluster(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true, Config: map[string]string{"archive_timeout": "3s"}})
	stopLoad := c.bench(t, ctx, "-c", "2", "-R", "800")
	stopSwitches := c.switches(t, ctx, 700*time.Millisecond)
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	stopWatch := j.watchSlot()
	args := []string{"--tail-interval", "30ms", "--buffers", "4"}
	for range kills {
		r := c.receiveAt(t, through.addr, args...)
		if chance.IntN(4) > 0 {
			_, err := r.WaitState(ctx, "streaming")
			must(t, err)
		}
		pause(ctx, time.Duration(chance.Int64N(int64(1200*time.Millisecond))))
		must(t, r.Kill9())
	}
	r := c.receiveAt(t, through.addr, args...)
	_, err := r.WaitState(ctx, "streaming")
	must(t, err)
	stopLoad()
	stopSwitches()
	names := c.compare(t, ctx, r)
	c.caughtUp(t, ctx, r)
	noGap(t, ctx, r)
	stopWatch()
	t.Logf("%d segments equal over %d kills; %d acknowledgements judged", len(names), kills, j.seen)
	if j.seen < kills {
		t.Errorf("only %d acknowledgements were judged: the test proves little", j.seen)
	}
}

// pause lets a random or a given time pass: the length of a load, never the wait for a condition.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
