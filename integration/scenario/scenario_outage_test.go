package scenario_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage/storagetest"
)

// walRate is how fast the outage tests write WAL, in bytes a second.
const walRate = 4 << 20

// An outage is a store that stops working, and works again.
type outage struct {
	begin, end func()
	times      int // how long, in times to fill the buffers
}

// TestS03UploadsStall: the store takes connections and answers nothing.
func TestS03UploadsStall(t *testing.T) {
	t.Parallel()
	gateway := storagetest.StartGateway(t)
	survive(t, gateway, gateway.Endpoint, outage{begin: gateway.Pause, end: gateway.Resume, times: 20})
}

// TestS32StorageDown: nobody listens where the store was.
func TestS32StorageDown(t *testing.T) {
	t.Parallel()
	gateway := storagetest.StartGateway(t)
	proxy := fault.Start(t, gateway.Endpoint[len("http://"):])
	up := func() { must(t, proxy.Up()) }
	survive(t, gateway, "http://"+proxy.Addr(), outage{begin: proxy.Down, end: up, times: 50})
}

// survive runs a receiver through an outage under a steady load: its memory stays fixed, it leaves the server in order, it
// says what is the matter, it catches up quickly, and nothing is lost.
func survive(t *testing.T, gateway *storagetest.Gateway, endpoint string, o outage) {
	ctx := limit(t, 4*time.Minute)
	c := newBucket(t, postgres.Options{
		SegmentSizeMB: 1, ArchiveDir: true, Config: map[string]string{"wal_sender_timeout": "5s"},
	}, gateway, endpoint)
	j := c.judge(t, ctx)
	r := c.receive(t, "--buffers", "2", "--compressed-memory", "4")
	c.caughtUp(t, ctx, r)
	stopLoad := c.steady(t, ctx, walRate)
	stopWatch := j.watchSlot()
	pause(ctx, 2*time.Second)

	o.begin()
	began := time.Now()
	_, err := r.WaitStatus(ctx, "all buffers busy", func(s walkeep.Status) bool { return freeBuffers(t, s) == 0 })
	must(t, err)
	length := max(time.Duration(o.times)*time.Since(began), 16*time.Second)
	_, err = r.WaitState(ctx, "throttled")
	must(t, err)
	before := memory(t, r)
	pause(ctx, length-time.Since(began))
	s, err := r.WaitState(ctx, "throttled")
	must(t, err)
	if s.Message == "" {
		t.Error("throttled, and no word about it")
	}
	if grown := memory(t, r) - before; grown > 4<<20 {
		t.Errorf("the receiver took %d KB more memory during the outage", grown>>10)
	}
	if n := c.MustQuery(t, "SELECT count(*) FROM pg_stat_replication"); n != "0" {
		t.Errorf("%s walsenders although the receiver is throttled", n)
	}
	o.end()
	rate := catchUp(t, ctx, c, r)
	stopLoad()
	names := c.compare(t, ctx, r)
	c.caughtUp(t, ctx, r)
	noGap(t, ctx, r)
	stopWatch()
	if strings.Contains(c.Log(0), "terminating walsender process due to replication timeout") {
		t.Error("the server had to notice that the receiver does not answer")
	}
	t.Logf("outage of %s; %d segments equal, %d acknowledgements judged; memory %d MB; caught up with %.1f times the WAL rate",
		length.Round(time.Second), len(names), j.seen, memory(t, r)>>20, rate)
	if rate < 3 {
		t.Errorf("caught up with %.1f times the WAL rate, want 3", rate)
	}
}

func freeBuffers(t testing.TB, s walkeep.Status) int {
	t.Helper()
	var v struct{ Buffers struct{ Free int } }
	must(t, json.Unmarshal(s.Raw, &v))
	return v.Buffers.Free
}

// memory is the most that the receiver has had resident so far.
func memory(t testing.TB, r *walkeep.Receiver) int64 {
	t.Helper()
	peak, err := r.PeakMemory()
	must(t, err)
	return peak
}

// catchUp waits until the receiver is within half a second of the load, and returns how fast it came there from the first
// object stored: in multiples of the rate at which WAL was written.
func catchUp(t testing.TB, ctx context.Context, c *cluster, r *walkeep.Receiver) float64 {
	t.Helper()
	stale, err := r.Status(ctx)
	must(t, err)
	first, err := r.WaitStatus(ctx, "storage to answer", func(s walkeep.Status) bool { return s.Durable() > stale.Durable() })
	must(t, err)
	began, flushed := time.Now(), segment.LSN(0)
	var end walkeep.Status
	must(t, poll.Until(ctx, "receiver to catch up", func(ctx context.Context) (bool, error) {
		if flushed, err = c.FlushLSN(ctx); err != nil {
			return false, err
		}
		end, err = r.Status(ctx)
		return err == nil && end.Durable()+walRate/2 >= flushed, err
	}))
	took := time.Since(began).Seconds()
	return float64(end.Durable()-first.Durable()) / took / walRate
}

// TestS05StopWhileBuffersAreBusy stops the server when the receiver can't read on: while it still holds the connection, and
// after it has left.
func TestS05StopWhileBuffersAreBusy(t *testing.T) {
	for _, state := range []string{"streaming", "throttled"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			ctx := limit(t, 2*time.Minute)
			gateway := storagetest.StartGateway(t)
			c := newBucket(t, postgres.Options{SegmentSizeMB: 1}, gateway, gateway.Endpoint)
			r := c.receive(t, "--buffers", "2", "--compressed-memory", "2")
			c.caughtUp(t, ctx, r)
			gateway.Pause()
			must(t, c.emit(ctx, 12<<20))
			_, err := r.WaitStatus(ctx, state+" with all buffers busy", func(s walkeep.Status) bool {
				return freeBuffers(t, s) == 0 && s.State == state
			})
			must(t, err)
			took, err := c.Stop(postgres.Fast)
			must(t, err)
			t.Logf("stopped in %s", took.Round(time.Millisecond))
			if took > 12*time.Second {
				t.Errorf("the server took %s to stop", took)
			}
			gateway.Resume()
			must(t, c.Start())
			c.caughtUp(t, ctx, r)
			noGap(t, ctx, r)
			c.holdsAll(t, ctx)
		})
	}
}

// holdsAll compares with the server's own pg_wal what the repository holds of its segments, where no archive_command did.
func (c *cluster) holdsAll(t testing.TB, ctx context.Context) {
	t.Helper()
	cat := c.catalog(t, ctx)
	lineage := segment.Lineage{Timeline: 1}
	from, _, err := cat.Started(ctx, lineage)
	must(t, err)
	end, err := c.frontier(ctx)
	must(t, err)
	size, compared := cat.SegmentSize(), 0
	for at := from; at+segment.LSN(size) <= end; at += segment.LSN(size) {
		name := segment.NameAt(1, at, size)
		want, ok := c.walFile(t, name)
		if !ok {
			continue
		}
		got, err := cat.Segment(ctx, lineage, name, nil)
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("segment %s differs from the server's", name)
		}
		compared++
	}
	if compared == 0 {
		t.Error(fmt.Errorf("no segment between %s and %s is still on the server", from, end))
	}
}
