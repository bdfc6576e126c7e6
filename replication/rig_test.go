package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
	"walkeep/uploader"
)

// lineage1 is the one lineage that timeline 1 can have.
var lineage1 = segment.Lineage{Timeline: 1}

// A rig is a Receiver between a fakeServer and a store. Every status that the Receiver writes to its socket is compared, at
// that moment, with what the store has confirmed.
type rig struct {
	t        *testing.T
	server   *fakeServer
	ledger   *ledger
	faulty   *storagetest.Faulty // in front of the ledger
	receiver *Receiver
	stop     chan struct{}
	done     chan error
	ctx      context.Context // ends with the test, or after longest: then something hangs
	cancel   context.CancelFunc
	running  sync.WaitGroup
	onAck    func(flush segment.LSN) // a status is being sent
}

// longest is how much of its own time a test may take.
const longest = 3 * time.Hour

// newRig makes a Receiver that is not yet running. It must be made in a bubble (testing/synctest), like everything here.
func newRig(t *testing.T, server *fakeServer, store *ledger, change func(*ReceiverOptions)) *rig {
	t.Helper()
	r := &rig{t: t, server: server, ledger: store, faulty: storagetest.NewFaulty(store), stop: make(chan struct{})}
	server.do(func() { server.wrap = func(c net.Conn) net.Conn { return &ackChecker{Conn: c, rig: r} } })
	options := ReceiverOptions{
		Server: server.config(), Store: r.faulty, Slot: "walkeep", Log: slog.New(slog.DiscardHandler),
		Uploader: uploader.Options{Buffers: 4, Compressors: 1, Puts: 4, ArenaBytes: 2 * segment.MaxEncoded(int(server.wal.size))},
	}
	if change != nil {
		change(&options)
	}
	var err error
	if r.receiver, err = NewReceiver(options); err != nil {
		t.Fatal(err)
	}
	r.ctx, r.cancel = context.WithTimeout(context.Background(), longest)
	t.Cleanup(func() {
		r.cancel()
		r.running.Wait()
		r.checkBuffers()
		r.receiver.closeUploader() // for those that ran a single session
		server.close()
	})
	return r
}

// checkBuffers checks, when nothing runs any more, that whoever had a segment buffer has given it back, but for segments that
// their lane still waits for.
func (r *rig) checkBuffers() {
	ended, cancel := context.WithCancel(r.ctx)
	cancel()
	lane := r.receiver.lane
	if lane == nil || lane.WaitIdle(ended) != nil {
		return
	}
	if stats := r.receiver.uploader.Stats(); stats.FreeBuffers != stats.Buffers {
		r.t.Errorf("%d of %d buffers came back", stats.FreeBuffers, stats.Buffers)
	}
}

// run starts the Receiver.
func (r *rig) run() {
	r.done = make(chan error, 1)
	r.running.Go(func() { r.done <- r.receiver.Run(r.ctx, r.stop) })
}

// end stops the Receiver in good order.
func (r *rig) end() {
	r.t.Helper()
	close(r.stop)
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
}

// kill stops the Receiver at once.
func (r *rig) kill() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
}

// session runs one session of the Receiver and returns why it ended.
func (r *rig) session() <-chan error {
	done := make(chan error, 1)
	r.running.Go(func() { done <- r.receiver.session(r.ctx, r.stop) })
	return done
}

// bubble runs test against a server with the WAL, in a bubble of its own time.
func bubble(t *testing.T, wal *walWriter, change func(*ReceiverOptions), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, newRig(t, newServer(t, wal), newLedger(), change))
	})
}

// awaitAck waits until the server has been told that everything before lsn is durable.
func (r *rig) awaitAck(lsn segment.LSN) {
	r.t.Helper()
	r.await("acknowledgement of "+lsn.String(), func() bool { return r.server.acknowledged().flush == lsn })
}

// await waits until the condition holds, for ten minutes of the bubble's time.
func (r *rig) await(what string, condition func() bool) {
	r.t.Helper()
	for range 60_000 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("%s: did not happen; acknowledged %+v, status %+v", what, r.server.acknowledged(), r.receiver.Status())
}

// expectArchived compares what a restore would get with the server's WAL [from, to).
func (r *rig) expectArchived(from, to segment.LSN) {
	r.t.Helper()
	ctx := context.Background()
	c, err := catalog.Open(ctx, r.ledger, systemID)
	if err != nil {
		r.t.Fatal(err)
	}
	if end, _, err := c.Frontier(ctx, lineage1); err != nil || end < to {
		r.t.Errorf("Frontier %s, %v, want %s", end, err, to)
	}
	for n := segment.NameAt(1, from, c.SegmentSize()); n.Start() < to; n = n.Next() {
		raw, err := c.Segment(ctx, lineage1, n, nil)
		if errors.Is(err, storage.ErrNotFound) {
			raw, err = c.Tail(ctx, lineage1, n, nil)
		}
		want := r.server.wal.between(n.Start(), min(to, n.End()))
		if err != nil || len(raw) < len(want) || !bytes.Equal(raw[:len(want)], want) {
			r.t.Errorf("segment %s: archived %d bytes, %v: not the server's %d", n, len(raw), err, len(want))
		}
	}
}

// An ackChecker checks each status as it is written.
type ackChecker struct {
	net.Conn
	rig   *rig
	acked segment.LSN
}

func (c *ackChecker) Write(p []byte) (int, error) {
	if len(p) == 39 && p[0] == 'd' && p[5] == pglogrepl.StandbyStatusUpdateByteID {
		c.check(p[6:])
	}
	return c.Conn.Write(p)
}

func (c *ackChecker) check(p []byte) {
	at := func(i int) segment.LSN { return segment.LSN(binary.BigEndian.Uint64(p[i:])) }
	write, flush, apply := at(0), at(8), at(16)
	durable := max(c.rig.ledger.durable(), c.rig.server.wal.start)
	switch {
	case flush == 0 && apply == 0: // a release: the slot stays where it is
		return
	case flush != apply:
		c.rig.t.Errorf("status with flush %s, apply %s", flush, apply)
	case flush > durable:
		c.rig.t.Errorf("acknowledged %s while the store had confirmed %s", flush, durable)
	case flush > write:
		c.rig.t.Errorf("acknowledged %s, received %s", flush, write)
	case flush < c.acked:
		c.rig.t.Errorf("acknowledged %s after %s in the same stream", flush, c.acked)
	}
	c.acked = max(c.acked, flush)
	if c.rig.onAck != nil {
		c.rig.onAck(flush)
	}
}
