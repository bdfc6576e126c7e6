package replication

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// segmentAt is the name of the segment at offset n of the WAL's segments.
func segmentAt(w *walWriter, n int) segment.Name {
	return segment.NameAt(1, w.start+segment.LSN(n)*segment.LSN(w.size), w.size)
}

// TestS56FirstStatusAcknowledgesTheFrontier: after back-pressure the stream begins behind segments that are still queued, and
// its first status acknowledges what is durable, not where it begins (scenario S56).
func TestS56FirstStatusAcknowledgesTheFrontier(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+12<<20, 100)
	second, third := segmentAt(wal, 1), segmentAt(wal, 2)
	options := func(o *ReceiverOptions) {
		o.Uploader.Buffers, o.Uploader.Puts = 3, 2
		o.ThrottleWait = 3 * time.Second
	}
	bubble(t, wal, options, func(t *testing.T, r *rig) {
		release2, release3 := r.ledger.hold(second.String()), r.ledger.hold(third.String())
		start := time.Now()
		r.run()
		r.await("back-pressure", func() bool { return r.receiver.Status().State == StateThrottled })
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("disconnected after %s", took)
		}
		streams := len(r.server.allStatuses())
		release3() // segments behind it follow, the second is still held
		r.await("second stream", func() bool { return len(r.server.allStatuses()) > streams })
		first := r.server.allStatuses()[streams]
		if first.sender != 2 || first.flush != second.Start() || first.write <= third.End() {
			t.Errorf("first status of the second stream: %+v, want flush %s", first, second.Start())
		}
		release2()
		r.awaitAck(wal.end())
		r.end()
		r.expectArchived(wal.start, wal.end())
	})
}

// TestS04ShutdownIsConfirmedAtOnce: a server that shuts down gets its last byte acknowledged exactly, without waiting for the
// tail's interval.
func TestS04ShutdownIsConfirmedAtOnce(t *testing.T) {
	for _, timeout := range []string{"1min", "5s", "0"} {
		t.Run(timeout, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, func(o *ReceiverOptions) { o.TailInterval = time.Hour }, func(t *testing.T, r *rig) {
				r.server.settings["wal_sender_timeout"] = timeout
				done := r.session()
				time.Sleep(7 * time.Second)
				var end segment.LSN
				r.server.do(func() {
					wal.record(80) // the shutdown checkpoint
					end = wal.end()
					r.server.flush, r.server.stopping = end, true
				})
				start := time.Now()
				if err := <-done; !errors.Is(err, errServerStopped) {
					t.Errorf("session ended with %v", err)
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("the server had to wait %s", took)
				}
				if got := r.server.acknowledged(); got.flush != end || got.write != end {
					t.Errorf("last status %+v, want %s", got, end)
				}
				r.expectArchived(wal.start, end)
			})
		})
	}
}

// TestS04ShutdownWhileStorageIsDown: the server is answered once a second, and released after a while without an
// acknowledgement.
func TestS04ShutdownWhileStorageIsDown(t *testing.T) {
	for _, timeout := range []string{"1min", "5s", "0"} {
		t.Run(timeout, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.settings["wal_sender_timeout"] = timeout
				done := r.session()
				time.Sleep(5 * time.Second)
				durable := r.server.acknowledged().flush
				release := r.faulty.Stall(storage.OpPut)
				defer release()
				start := time.Now()
				r.server.do(func() {
					wal.record(80)
					r.server.flush, r.server.stopping = wal.end(), true
				})
				if err := <-done; !errors.Is(err, errServerStopped) {
					t.Errorf("session ended with %v", err)
				}
				if took := time.Since(start); took < 20*time.Second || took > 22*time.Second {
					t.Errorf("the server was released after %s", took)
				}
				statuses := slices.DeleteFunc(r.server.allStatuses(), func(s status) bool { return s.at.Before(start) })
				if n := len(statuses); n < 15 || n > 25 {
					t.Errorf("%d statuses in %s", n, time.Since(start))
				}
				last := statuses[len(statuses)-1]
				if last.flush != 0 || last.apply != 0 || last.write != wal.end() {
					t.Errorf("released with %+v", last)
				}
				for _, s := range statuses[:len(statuses)-1] {
					if s.flush != durable {
						t.Errorf("acknowledged %s with %s durable", s.flush, durable)
					}
				}
				if slot := r.server.slot; slot != durable {
					t.Errorf("the slot is at %s, want %s", slot, durable)
				}
			})
		})
	}
}

// TestS04ShutdownIsConfirmedWhenStorageComesBack: within the time of the release.
func TestS04ShutdownIsConfirmedWhenStorageComesBack(t *testing.T) {
	wal := smallWAL()
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		done := r.session()
		time.Sleep(5 * time.Second)
		release := r.faulty.Stall(storage.OpPut)
		r.server.do(func() {
			wal.record(80)
			r.server.flush, r.server.stopping = wal.end(), true
		})
		time.Sleep(10 * time.Second)
		start := time.Now()
		release()
		if err := <-done; !errors.Is(err, errServerStopped) || time.Since(start) > time.Second {
			t.Errorf("session ended after %s with %v", time.Since(start), err)
		}
		if got := r.server.acknowledged(); got.flush != wal.end() {
			t.Errorf("last status %+v, want %s", got, wal.end())
		}
	})
}

// TestS07IdleServer: nothing is put, nothing is reconnected, and the server hears of us often enough, over many times its
// wal_sender_timeout.
func TestS07IdleServer(t *testing.T) {
	for _, timeout := range []string{"1min", "5s", "0"} {
		t.Run(timeout, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.settings["wal_sender_timeout"] = timeout
				r.run()
				r.awaitAck(wal.end())
				time.Sleep(5 * time.Second)
				puts := r.faulty.Calls(storage.OpPut)
				from := len(r.server.allStatuses())
				time.Sleep(30 * time.Minute)
				if n := r.faulty.Calls(storage.OpPut); n != puts {
					t.Errorf("%d puts while nothing was written", n-puts)
				}
				statuses := r.server.allStatuses()
				limit, _ := ParseDuration(timeout)
				for i, s := range statuses[from:] {
					gap := s.at.Sub(statuses[from+i-1].at)
					if s.sender != 1 || s.flush != wal.end() || gap > 10*time.Second || limit > 0 && gap > limit/2 {
						t.Fatalf("status %+v, %s after the one before", s, gap)
					}
				}
				if n := len(statuses) - from; n > 30*60*2 {
					t.Errorf("%d statuses in 30 minutes", n)
				}
				r.end()
			})
		})
	}
}

// TestDemandIsAnsweredAtOnce: also when the server asks at another position than ours, or long after our last word; neither
// is a shutdown.
func TestDemandIsAnsweredAtOnce(t *testing.T) {
	bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
		var answered []time.Duration
		r.server.script = func(d *sender) error {
			if err := d.sendAll(); err != nil {
				return err
			}
			for _, ask := range []segment.LSN{d.sent, d.sent - 100, d.sent, d.sent + 100} {
				time.Sleep(3 * time.Second)
				asked := time.Now()
				if err := d.keepalive(ask, 1); err != nil {
					return err
				}
				synctest.Wait()
				last := r.server.acknowledged()
				answered = append(answered, last.at.Sub(asked))
			}
			return d.send(serverError("57P01", "", "enough"))
		}
		<-r.session()
		if want := make([]time.Duration, 4); !slices.Equal(answered, want) {
			t.Errorf("answered %v after the question, want at once", answered)
		}
	})
}

// TestStop: what was received is made durable and acknowledged, the stream is ended with CopyDone; with storage down it
// takes no longer than told.
func TestStop(t *testing.T) {
	for name, tt := range map[string]struct {
		stall, full bool
		took        time.Duration
	}{"storage up": {}, "storage down": {stall: true, took: 10 * time.Second}, "all buffers busy": {stall: true, full: true, took: 3 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, func(o *ReceiverOptions) { o.TailInterval = time.Hour }, func(t *testing.T, r *rig) {
				var ended bool
				r.server.script = func(d *sender) error {
					err := d.stream()
					ended = err == nil
					return err
				}
				r.run()
				time.Sleep(time.Second)
				durable := r.server.acknowledged().flush
				if tt.stall {
					defer r.faulty.Stall(storage.OpPut)()
				}
				if tt.full {
					r.server.write(func(w *walWriter) { w.fill(w.start+14<<20, 100) })
					time.Sleep(time.Second)
				}
				start := time.Now()
				r.end()
				if took := time.Since(start); took > tt.took+100*time.Millisecond {
					t.Errorf("stopped after %s", took)
				}
				want := wal.end()
				if tt.stall {
					want = durable
				}
				if got := r.server.acknowledged().flush; got != want {
					t.Errorf("acknowledged %s, want %s", got, want)
				}
				synctest.Wait()
				if !tt.full && !ended {
					t.Error("the stream was not ended in good order")
				}
			})
		})
	}
}
