package replication

import (
	"context"
	"errors"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/storage"
)

// TestStopWithoutAStream: wherever the Receiver is while it has no stream, it stops at once.
func TestStopWithoutAStream(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, r *rig){
		"no server":                           func(_ *testing.T, r *rig) { r.server.down = true },
		"server silent":                       func(_ *testing.T, r *rig) { r.server.frozen = true },
		"server silent at START_REPLICATION":  func(_ *testing.T, r *rig) { r.server.mute = true },
		"store silent at the first put":       func(_ *testing.T, r *rig) { r.faulty.Stall(storage.OpPut) },
		"store silent at a listing":           func(_ *testing.T, r *rig) { r.faulty.Stall(storage.OpList) },
		"slot active":                         func(_ *testing.T, r *rig) { r.server.held = true },
		"all buffers busy":                    func(_ *testing.T, r *rig) { r.ledger.hold("/wal/") },
		"WAL removed, the gap can't be noted": func(_ *testing.T, r *rig) { r.ledger.hold("/gap/"); r.server.removed = r.server.wal.start + 2<<20 },
	} {
		t.Run(name, func(t *testing.T) {
			wal := newWAL(oneMB)
			wal.fill(wal.start+14<<20, 100)
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.slot = wal.start + 100
				prepare(t, r)
				r.run()
				time.Sleep(20 * time.Second)
				start := time.Now()
				r.end()
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("stopped after %s", took)
				}
				if state := r.receiver.Status().State; state != StateStopped {
					t.Errorf("state %s", state)
				}
			})
		})
	}
}

// TestKill: the end of the context ends everything at once, also in the middle of a stream.
func TestKill(t *testing.T) {
	bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
		r.run()
		time.Sleep(500 * time.Millisecond)
		r.faulty.Stall(storage.OpPut)
		r.server.write(func(w *walWriter) { w.record(3000) })
		time.Sleep(10 * time.Second)
		start := time.Now()
		r.kill()
		if took := time.Since(start); took != 0 {
			t.Errorf("ended after %s", took)
		}
	})
}

// TestLostWAL: WAL that the server has removed becomes a Gap from the Frontier to the first segment that is there, and
// streaming goes on.
func TestLostWAL(t *testing.T) {
	wal := smallWAL()
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		r.run()
		r.awaitAck(wal.end())
		from := wal.end()
		r.end()
		for range 5 {
			r.server.write(func(w *walWriter) { w.fill(w.end()+1<<20, 100) })
		}
		to := segmentAt(wal, 4).Start()
		r.server.do(func() { r.server.removed, r.server.slot = to, to })
		again := newRig(t, r.server, r.ledger, nil)
		again.run()
		again.awaitAck(wal.end())
		again.end()
		gaps := again.gaps()
		if len(gaps) != 1 || gaps[0].From != from || gaps[0].To != to || gaps[0].Kind != catalog.GapLost {
			t.Errorf("gaps %v, want [%s, %s)", gaps, from, to)
		}
		again.expectArchived(to, wal.end())
	})
}

// TestContextOfPrepare: a session whose preparation is cut off leaves nothing behind that the next one stumbles over.
func TestContextOfPrepare(t *testing.T) {
	wal := smallWAL()
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		for _, op := range []string{storage.OpPut, storage.OpList, storage.OpGet} {
			release := r.faulty.Stall(op)
			ctx, cancel := context.WithTimeout(r.ctx, time.Second)
			if err := r.receiver.session(ctx, r.stop); err == nil || !errors.Is(err, context.DeadlineExceeded) && Classify(err) != ClassRetry {
				t.Errorf("while %s stalls: %v", op, err)
			}
			cancel()
			release()
		}
		r.run()
		r.awaitAck(wal.end())
		r.end()
		r.expectArchived(wal.start, wal.end())
	})
}
