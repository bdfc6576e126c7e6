package replication

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// copyOf returns a writer that goes on behind the same bytes.
func copyOf(w *walWriter) *walWriter {
	c := *w
	c.buf = slices.Clone(w.buf)
	return &c
}

// expectChain checks that the tail of the segment is one chain of links from its beginning, with the server's bytes.
func (r *rig) expectChain(n segment.Name) (links int) {
	r.t.Helper()
	prefix := ""
	for _, key := range r.ledger.keys("/tail/") {
		if i := strings.Index(key, n.String()); i >= 0 {
			prefix = key[:i+len(n.String())+1]
		}
	}
	end := n.Start()
	for key := range r.ledger.List(r.ctx, prefix, "") {
		if strings.Contains(key.Key, "upto-") {
			continue
		}
		object, err := r.ledger.Get(r.ctx, key.Key, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		raw, s, err := segment.Decode(nil, object)
		if err != nil || s.From != end || !bytes.Equal(raw, r.server.wal.between(s.From, s.To)) {
			r.t.Fatalf("link %s holds %s, %v, want one from %s", key.Key, s, err, end)
		}
		end, links = s.To, links+1
	}
	return links
}

// TestS12ChainOfThreeWriters: receivers that are killed at any moment, between links and roll-ups, take over from each other on
// one chain; one with other bytes stops at the first piece that holds them, and overwrites nothing (scenario S12).
func TestS12ChainOfThreeWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wal := newWAL(oneMB)
		wal.fill(wal.start+1<<20+5000, 100)
		store, n := newLedger(), segmentAt(wal, 1)
		servers := []*fakeServer{newServer(t, copyOf(wal)), newServer(t, copyOf(wal))}
		var (
			last  *rig
			other *walWriter // goes another way from somewhere in the middle on
		)
		for round := range 16 {
			if round == 4+rand.IntN(10) || round == 14 && other == nil {
				other = copyOf(wal)
			}
			last = newRig(t, servers[round%2], store, func(o *ReceiverOptions) { o.TailInterval = 100 * time.Millisecond })
			release := func() {}
			if round%3 == 0 {
				release = store.hold("upto-")
			}
			last.run()
			for range 1 + rand.IntN(12) {
				from := wal.end()
				wal.record(50 + rand.IntN(2000))
				for _, s := range servers {
					s.write(func(w *walWriter) { w.buf, w.prev = append(w.buf, wal.between(from, wal.end())...), wal.prev })
				}
				time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
			}
			if rand.IntN(3) == 0 {
				last.awaitAck(wal.end())
			}
			last.kill()
			release()
		}
		last = newRig(t, servers[0], store, nil)
		last.run()
		last.awaitAck(wal.end())
		last.end()
		last.expectArchived(wal.start, wal.end())
		links, rollups := last.expectChain(n), len(store.keys("upto-"))
		if links < 33 || rollups == 0 {
			t.Errorf("only %d links and %d roll-ups: nothing was tried", links, rollups)
		}

		before := store.Keys()
		differs := other.end()
		other.record(300_000) // longer than the tail, and the first bytes are other ones
		expectFork(t, newRig(t, newServer(t, other), store, nil), n, differs)
		if after := store.Keys(); !slices.Equal(before, after) {
			t.Errorf("the third writer has put something: %d objects, %d before", len(after), len(before))
		}
	})
}

// expectFork runs a Receiver that must stop because of a piece of the segment's tail that holds the byte at lsn.
func expectFork(t *testing.T, r *rig, n segment.Name, lsn segment.LSN) {
	t.Helper()
	r.run()
	err := <-r.done
	var (
		fork  *catalog.ForkError
		fatal *FatalError
	)
	if !errors.As(err, &fork) || !errors.As(err, &fatal) {
		t.Fatalf("Run: %v, want a fork", err)
	}
	if !strings.Contains(fork.Key, "/tail/") || !strings.Contains(fork.Key, n.String()) ||
		fork.Stored.From != fork.Ours.From || fork.Stored.To <= lsn {
		t.Errorf("the fork is said to be at %s: %s, ours %s; the first other byte is at %s", fork.Key, fork.Stored, fork.Ours, lsn)
	}
	if r.receiver.Status().State != StateFork || !strings.Contains(err.Error(), fork.Ours.String()) {
		t.Errorf("state %s: %v", r.receiver.Status().State, err)
	}
}

// TestS12TwoWritersAtOnce: both attached to servers with the same WAL they share one chain; when one server sends other bytes,
// the receiver that comes second stops at its first link behind that, and the chain is the first one's.
func TestS12TwoWritersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wal := newWAL(oneMB)
		wal.fill(wal.start+1<<20+5000, 100)
		store, n := newLedger(), segmentAt(wal, 1)
		one := newRig(t, newServer(t, copyOf(wal)), store, nil)
		two := newRig(t, newServer(t, copyOf(wal)), store, func(o *ReceiverOptions) { o.TailInterval = 1100 * time.Millisecond })
		one.run()
		two.run()
		for range 50 {
			for _, r := range []*rig{one, two} {
				r.server.write(func(w *walWriter) { w.record(500) })
			}
			time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
		}
		end := one.server.flush
		one.awaitAck(end)
		two.awaitAck(end)
		one.server.write(func(w *walWriter) { w.record(500) })
		one.awaitAck(one.server.flush)
		two.server.write(func(w *walWriter) { w.record(501); w.record(1000) })
		err := <-two.done
		var fork *catalog.ForkError
		if !errors.As(err, &fork) || fork.Stored.From > end+532 || fork.Stored.To <= end || !strings.Contains(fork.Key, "/tail/") {
			t.Errorf("the second receiver: %v", err)
		}
		one.server.write(func(w *walWriter) { w.record(500) })
		one.awaitAck(one.server.flush)
		one.end()
		one.expectChain(n)
		one.expectArchived(wal.start, one.server.flush)
	})
}
