package replication

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// A line fails the k-th read or write of all its connections, and ends the connection with it.
type line struct {
	mu     sync.Mutex
	calls  map[string]int
	op     string // "send" or "receive"
	k      int
	effect bool // the message goes out all the same
}

var errLine = errors.New("injected failure of the network")

// fails counts a call and reports whether it is the one.
func (l *line) fails(op string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[op]++
	return op == l.op && l.calls[op] == l.k+1
}

func (l *line) reached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[l.op] > l.k
}

type faultyConn struct {
	net.Conn
	line *line
}

func (c *faultyConn) Read(p []byte) (int, error) {
	if c.line.fails("receive") {
		return 0, errors.Join(errLine, c.Conn.Close())
	}
	return c.Conn.Read(p)
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if !c.line.fails("send") {
		return c.Conn.Write(p)
	}
	if c.line.effect {
		_, _ = c.Conn.Write(p)
	}
	return 0, errors.Join(errLine, c.Conn.Close())
}

// scenario is a small run with everything in it: it catches up, keeps a tail, ends a segment, is thrown out once, and stops.
func scenario(t *testing.T, r *rig) {
	start := r.server.wal.start
	r.run()
	r.awaitAck(r.server.flush)
	for range 2 {
		r.awaitAck(r.server.write(func(w *walWriter) { w.record(300); w.commit(time.Now()) }))
	}
	r.awaitAck(r.server.write(func(w *walWriter) { w.switchSegment() }))
	r.server.cut() // all connections
	end := r.server.write(func(w *walWriter) { w.record(300) })
	r.awaitAck(end)
	r.end()
	r.expectArchived(start, end)
}

// TestS02AnyFailure: with the k-th call of any kind failing, before it takes effect or after, no acknowledgement precedes its
// Put, and the run completes; for every k there is (scenario S02).
func TestS02AnyFailure(t *testing.T) {
	type fault struct {
		op     string
		effect bool
		items  int
		retry  bool
	}
	for _, f := range []fault{
		{op: storage.OpPut, retry: true},
		{op: storage.OpPut, effect: true, retry: true},
		{op: storage.OpGet, retry: true},
		{op: storage.OpList, items: 1, retry: true},
		{op: storage.OpDelete, retry: true},
		{op: storage.OpPut},
		{op: storage.OpPut, effect: true},
		{op: storage.OpGet},
		{op: storage.OpList, items: 1},
		{op: "send"},
		{op: "send", effect: true},
		{op: "receive"},
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			reached, k, step := true, 0, 1
			if testing.Short() {
				step = 11
			}
			for ; reached; k += step {
				ok := t.Run(fmt.Sprint(k), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						wal := newWAL(oneMB)
						wal.fill(wal.start+100_000, 0)
						wal.switchSegment() // zeros cost little time
						wal.record(3000)
						lines := &line{calls: map[string]int{}, op: f.op, k: k, effect: f.effect}
						change := func(o *ReceiverOptions) {
							faulty := o.Store.(*storagetest.Faulty)
							faulty.Fail(storagetest.Fault{Op: f.op, Call: k, LostAnswer: f.effect, AfterItems: f.items})
							if f.retry {
								o.Store = storage.Retry(faulty, storage.RetryPolicy{MinDelay: time.Millisecond})
							}
						}
						r := newRig(t, newServer(t, wal), newLedger(), change)
						checked := r.server.wrap
						r.server.wrap = func(c net.Conn) net.Conn { return checked(&faultyConn{c, lines}) }
						scenario(t, r)
						reached = r.faulty.Calls(f.op) > k || lines.reached()
					})
				})
				if !ok {
					return
				}
			}
			if k < 2 {
				t.Errorf("%d runs: nothing was tried", k)
			}
		})
	}
}
