package replication

import (
	"errors"
	"os"
	"testing"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// TestS57RecordLargerThanMemory: a record that needs more segments than there are buffers is checked and archived (scenario
// S57).
func TestS57RecordLargerThanMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		size  segment.Size
		bytes int
	}{"13 MB over segments of 1 MB": {oneMB, 13 << 20}, "200 MB over segments of 16 MB": {16 << 20, 200 << 20}} {
		t.Run(name, func(t *testing.T) {
			if tt.size > oneMB && os.Getenv("WALKEEP_LONG") == "" {
				t.Skip("takes half a minute: set WALKEEP_LONG=1")
			}
			wal := newWAL(tt.size)
			wal.record(100)
			large := wal.record(tt.bytes)
			wal.record(100)
			wal.commit(time.Now())
			options := func(o *ReceiverOptions) { o.Uploader.Buffers = 6 }
			bubble(t, wal, options, func(t *testing.T, r *rig) {
				r.faulty.SetLatency(storage.OpPut, 100*time.Millisecond)
				r.run()
				r.awaitAck(wal.end())
				r.end()
				status := r.receiver.Status()
				if status.UncheckedBytes != 0 || status.Reconnects != 0 || status.LastCommit.IsZero() {
					t.Errorf("%+v", status)
				}
				if n := len(r.ledger.keys("/wal/")); n != 13 && n != 12 {
					t.Errorf("%d segments", n)
				}
				r.expectArchived(wal.start, wal.end())
			})
			if tt.size > oneMB {
				return
			}
			bubble(t, wal, options, func(t *testing.T, r *rig) { // and its checksum is really looked at
				r.server.mangle = flip(wal.end()-1000, always)
				<-r.session()
				if end := r.ledger.durable(); end > wal.size.Start(wal.end()) {
					t.Errorf("archived up to %s with a bad record at %s", end, large)
				}
			})
		})
	}
}

// TestS32BackPressure: with all buffers busy for a while we leave, and come back when half of them are free; nothing is lost,
// and the server is not asked again and again.
func TestS32BackPressure(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+16<<20, 100)
	options := func(o *ReceiverOptions) { o.Uploader.Buffers, o.Uploader.Puts = 4, 2 }
	bubble(t, wal, options, func(t *testing.T, r *rig) {
		release := r.ledger.hold("/wal/")
		r.run()
		r.await("back-pressure", func() bool { return r.receiver.Status().State == StateThrottled })
		streams := len(r.server.commands)
		before := r.receiver.Status()
		time.Sleep(10 * time.Minute)
		status := r.receiver.Status()
		if status.State != StateThrottled || status.Durable != before.Durable || len(r.server.commands) != streams {
			t.Errorf("after ten minutes without storage: %+v", status)
		}
		if free := status.Uploads.FreeBuffers; free != 0 {
			t.Errorf("%d buffers are free", free)
		}
		release()
		r.awaitAck(wal.end())
		r.end()
		r.expectArchived(wal.start, wal.end())
	})
}

// TestThrottledSessionLeavesInTime: 3 s after the last buffer was taken, not before and not later.
func TestThrottledSessionLeavesInTime(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+12<<20, 100)
	options := func(o *ReceiverOptions) { o.Uploader.Buffers, o.Uploader.Puts = 2, 1 }
	bubble(t, wal, options, func(t *testing.T, r *rig) {
		defer r.ledger.hold("/wal/")()
		start := time.Now()
		if err := <-r.session(); !errors.Is(err, errThrottled) {
			t.Errorf("session ended with %v", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("left after %s", took)
		}
	})
}

// TestTwoBuffersAndASlowLink: segments go on by way of the other buffer while a link has no answer, and nobody hangs up.
// Segments of 32 MB and more have two buffers.
func TestTwoBuffersAndASlowLink(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+1<<20+5000, 100)
	options := func(o *ReceiverOptions) { o.Uploader.Buffers = 2 }
	bubble(t, wal, options, func(t *testing.T, r *rig) {
		r.run()
		r.awaitAck(wal.end())
		release := r.ledger.hold("/tail/")
		defer release()
		r.server.write(func(w *walWriter) { w.record(500) })
		time.Sleep(2 * time.Second) // the link is on its way
		r.server.write(func(w *walWriter) { w.fill(w.start+5<<20, 0); w.record(100) })
		r.await("whole segments", func() bool { return r.server.acknowledged().flush >= wal.start+5<<20 })
		if n := r.receiver.Status().Reconnects; n != 0 {
			t.Errorf("%d reconnects", n)
		}
		release()
		r.end()
	})
}

// TestSynchronousWithTwoBuffers: the segment before the current one is kept until it is durable; with the fewest buffers that
// there can be everything goes on all the same.
func TestSynchronousWithTwoBuffers(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+4<<20+5000, 100)
	bubble(t, wal, func(o *ReceiverOptions) { o.Uploader.Buffers = 2 }, func(t *testing.T, r *rig) {
		r.server.settings["synchronous_standby_names"] = "walkeep"
		r.faulty.SetLatency(storage.OpPut, 200*time.Millisecond)
		r.run()
		r.awaitAck(wal.end())
		for range 4 {
			r.awaitAck(r.server.write(func(w *walWriter) { w.fill(w.end()+700_000, 100); w.commit(time.Now()) }))
		}
		r.end()
		r.expectArchived(wal.start, wal.end())
		if status := r.receiver.Status(); status.Reconnects != 0 {
			t.Errorf("%d reconnects, %s", status.Reconnects, status.LastError)
		}
	})
}

// TestBuffersComeBack: a stream that is cut off while everything is full, between reading and checking too, gives each buffer
// back.
func TestBuffersComeBack(t *testing.T) {
	wal := newWAL(oneMB)
	bad := wal.record(1000)
	wal.fill(wal.start+3<<20, 100)
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		// 66 pieces make a segment: one is being checked, 64 wait to be, and the last one finds no room.
		r.server.piece = func(segment.LSN) int { return 16_000 }
		r.server.mangle = flip(bad+500, always)
		<-r.session()
		r.ledger.hold("/gap/")
		done := r.session()
		time.Sleep(10 * time.Second) // the gap can't be noted
		if free := r.receiver.uploader.Stats().FreeBuffers; free != 3 {
			t.Errorf("%d buffers are free, want 3", free)
		}
		r.cancel()
		<-done
	})
}
