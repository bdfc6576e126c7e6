package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"walkeep/storage"
)

// TestForkInATailThatIsFullAtOnce: a server that sends other WAL than the tail holds is found out although it has so much of
// it that the segment is full before anybody has read the tail; and nothing of it is stored.
func TestForkInATailThatIsFullAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wal := newWAL(oneMB)
		wal.fill(wal.start+1<<20+5000, 100)
		store, n := newLedger(), segmentAt(wal, 1)
		first := newRig(t, newServer(t, copyOf(wal)), store, nil)
		first.run()
		first.server.write(func(w *walWriter) { w.record(500) })
		first.awaitAck(first.server.flush)
		first.end()

		other := copyOf(wal)
		other.record(600)
		other.fill(other.end()+8<<20, 100)
		before := len(store.Keys())
		second := newRig(t, newServer(t, other), store, nil)
		second.faulty.SetLatency(storage.OpList, time.Second)
		second.faulty.SetLatency(storage.OpGet, time.Second)
		expectFork(t, second, n, wal.end())
		if after := len(store.Keys()); after != before {
			t.Errorf("%d objects became %d", before, after)
		}
	})
}
