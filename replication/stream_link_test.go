package replication

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// ackTime writes WAL and returns how long it takes until all of it is acknowledged.
func (r *rig) ackTime(add func(w *walWriter)) time.Duration {
	r.t.Helper()
	start := time.Now()
	end := r.server.write(add)
	for range 100_000 {
		if r.server.acknowledged().flush == end {
			return r.server.acknowledged().at.Sub(start)
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatalf("%s is not acknowledged: %+v", end, r.server.acknowledged())
	return 0
}

// TestOldestByteWaitsForTheInterval: not longer, however much comes behind it, and not for less.
func TestOldestByteWaitsForTheInterval(t *testing.T) {
	bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
		r.run()
		r.awaitAck(r.server.flush)
		time.Sleep(time.Minute)
		if took := r.ackTime(func(w *walWriter) { w.record(100) }); took != time.Second {
			t.Errorf("one record: %s, want 1s", took)
		}
		links := len(r.ledger.keys("/tail/"))
		start := time.Now()
		first := r.server.write(func(w *walWriter) { w.record(100) })
		for r.server.acknowledged().flush < first {
			time.Sleep(50 * time.Millisecond)
			r.server.write(func(w *walWriter) { w.record(100) })
		}
		if took := r.server.acknowledged().at.Sub(start); took != time.Second {
			t.Errorf("a record with others behind it: %s, want 1s", took)
		}
		if n := len(r.ledger.keys("/tail/")) - links; n != 1 {
			t.Errorf("%d links for one second", n)
		}
		r.end()
	})
}

// TestManyBytesAreLinkedAtOnce: TailBytes don't wait for the interval.
func TestManyBytesAreLinkedAtOnce(t *testing.T) {
	bubble(t, smallWAL(), func(o *ReceiverOptions) { o.TailBytes = 20_000 }, func(t *testing.T, r *rig) {
		r.run()
		r.awaitAck(r.server.flush)
		if took := r.ackTime(func(w *walWriter) { w.record(20_000) }); took != 0 {
			t.Errorf("20,000 bytes: %s, want at once", took)
		}
		if took := r.ackTime(func(w *walWriter) { w.record(10_000) }); took != time.Second {
			t.Errorf("10,000 bytes: %s, want 1s", took)
		}
		r.end()
	})
}

// TestDemandOutsideTheWindow: a demand that comes before the bytes it asks for are checked, or while the tail that is there
// is being read, is not forgotten.
func TestDemandWhileTheTailIsRead(t *testing.T) {
	wal := smallWAL()
	bubble(t, wal, func(o *ReceiverOptions) { o.TailInterval = time.Hour }, func(t *testing.T, r *rig) {
		done := r.session()
		time.Sleep(time.Second)
		r.server.do(func() { r.server.stopping = true })
		if err := <-done; err != errServerStopped {
			t.Fatal(err)
		}
		end := r.server.write(func(w *walWriter) { w.record(1000) })
		release := r.faulty.Stall(storage.OpGet) // reading the tail's last link
		r.server.do(func() { r.server.stopping, r.server.down = false, false })
		done = r.session()
		time.Sleep(time.Second)
		r.server.do(func() { r.server.stopping = true })
		time.Sleep(time.Second)
		release()
		start := time.Now()
		if err := <-done; err != errServerStopped || time.Since(start) > time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if got := r.server.acknowledged().flush; got != end {
			t.Errorf("acknowledged %s, want %s", got, end)
		}
	})
}

// TestGroupCommit: while one link is on its way the commits gather, and follow together as soon as it is durable; each waits
// for two Puts at most, also those with the last bytes of a segment.
func TestGroupCommit(t *testing.T) {
	const latency, commits = 40 * time.Millisecond, 400
	bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
		r.server.settings["synchronous_standby_names"] = "FIRST 1 (walkeep)"
		type waiting struct {
			lsn   segment.LSN
			since time.Time
		}
		var queue []waiting
		var waited []time.Duration
		r.server.onStatus = func(s status) {
			for len(queue) > 0 && s.flush >= queue[0].lsn {
				waited = append(waited, time.Since(queue[0].since))
				queue = queue[1:]
			}
		}
		r.run()
		r.awaitAck(r.server.flush)
		r.faulty.SetLatency(storage.OpPut, latency)
		links := len(r.ledger.keys("/tail/"))
		start := time.Now()
		for range commits {
			r.server.do(func() {
				r.server.wal.record(1500)
				r.server.wal.commit(time.Now())
				r.server.flush = r.server.wal.end()
				queue = append(queue, waiting{r.server.flush, time.Now()})
			})
			time.Sleep(5 * time.Millisecond)
		}
		r.awaitAck(r.server.flush)
		if !r.receiver.Status().Synchronous {
			t.Error("not synchronous")
		}
		slices.Sort(waited)
		if len(waited) != commits || waited[0] < latency || waited[commits-1] > 4*latency {
			t.Errorf("%d commits waited from %s to %s", len(waited), waited[0], waited[len(waited)-1])
		}
		// Those at a segment's end need one Put more. Each may wait a bit for company.
		if most := waited[commits-commits/10]; most > 2*latency+latency/2+5*time.Millisecond {
			t.Errorf("one in ten commits waited %s and more", most)
		}
		took := time.Since(start)
		if n, most := len(r.ledger.keys("/tail/"))-links, int(took/latency)*5/4+20; n > most || n < commits/20 {
			t.Errorf("%d links in %s", n, took)
		}
		r.end()
		r.expectArchived(r.server.wal.start, r.server.flush)
	})
}

// TestCommitBehindSegmentsThatBecomeDurable: a commit in a new segment is linked when the segments before it have become
// durable, even if they do so within a millisecond of each other and no more WAL comes.
func TestCommitBehindSegmentsThatBecomeDurable(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+5<<20+1<<19, 100)
	options := func(o *ReceiverOptions) { o.Uploader.Buffers = 8 }
	bubble(t, wal, options, func(t *testing.T, r *rig) {
		r.server.settings["synchronous_standby_names"] = "walkeep"
		var releases []func()
		for n := range 3 {
			releases = append(releases, r.ledger.hold("/wal/"+lineage1.String()+"/00000000/"+segmentAt(wal, n).String()))
		}
		r.run()
		time.Sleep(2 * time.Second) // what comes behind the three is durable, but for the last segment's WAL
		for _, release := range releases {
			release()
			synctest.Wait()
		}
		start := time.Now()
		r.awaitAck(wal.end())
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the commit waited %s", took)
		}
		r.end()
	})
}

// TestLinksAreBounded: much WAL becomes several links.
func TestLinksAreBounded(t *testing.T) {
	const size = 16 << 20
	wal := newWAL(size)
	wal.fill(wal.start+10<<20, 100)
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		r.run()
		r.awaitAck(wal.end())
		r.end()
		if n := len(r.ledger.keys("/tail/")); n != 3 {
			t.Errorf("%d links for 10 MB, want 3", n)
		}
		r.expectArchived(wal.start, wal.end())
	})
}
