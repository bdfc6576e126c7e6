package scenario_test

import (
	"context"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/storage/storagetest"
)

// TestS56ReconnectWithSegmentsQueued drives a receiver into back-pressure with a store that takes five seconds for each
// object: it disconnects and connects again when half of the buffers are free, while a dozen segments are still on their
// way. What it acknowledges then is the Frontier, not where it starts.
func TestS56ReconnectWithSegmentsQueued(t *testing.T) {
	t.Parallel()
	ctx := limit(t, 3*time.Minute)
	gateway := storagetest.StartGateway(t)
	slow := fault.Start(t, gateway.Endpoint[len("http://"):])
	c := newBucket(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true}, gateway, "http://"+slow.Addr())
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	r := c.receiveAt(t, through.addr, "--buffers", "4")
	c.caughtUp(t, ctx, r)
	stopWatch := j.watchSlot()
	slow.Latency(fault.ToServer, 5*time.Second)
	must(t, c.emit(ctx, 64<<20))
	must(t, poll.Until(ctx, "reconnects with segments queued", func(context.Context) (bool, error) {
		return j.reconnectsBehind() >= 2, nil
	}))
	slow.Heal()
	names := c.compare(t, ctx, r)
	noGap(t, ctx, r)
	stopWatch()
	t.Logf("%d segments equal; %d acknowledgements judged, %d of them first and below the start", len(names), j.seen, j.reconnectsBehind())
}
