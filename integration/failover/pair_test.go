package failover_test

import (
	"syscall"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// takeover is how long the second receiver may take to stream once the first has gone.
const takeover = 10 * time.Second

// TestS27TwoReceivers lets one receiver wait while the other works, and takes the working one away again and again, in
// order and by force.
func TestS27TwoReceivers(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgres.Options{})
	chance := random(t)
	active, waiting := s.streaming(), s.receive()
	rounds := 4
	if walkeep.Long() {
		rounds = 40
	}
	for i := range rounds {
		_, err := waiting.WaitState(s.ctx, "waiting")
		must(t, err)
		s.write(s.first, 100*i, 100*i+99, 700)
		pause(s.ctx, time.Duration(chance.Int64N(int64(300*time.Millisecond))))
		left := time.Now()
		if i%2 == 0 {
			must(t, active.Kill9())
		} else {
			must(t, active.Signal(syscall.SIGTERM))
		}
		s.write(s.first, 100*i+50, 100*i+50, 700)
		_, err = waiting.WaitState(s.ctx, "streaming")
		must(t, err)
		if took := time.Since(left); took > takeover {
			t.Errorf("the second receiver took %s", took)
		}
		s.noAlarm(waiting)
		if exit, err := active.Wait(s.ctx); i%2 == 1 && (err != nil || exit != 0) {
			t.Errorf("SIGTERM: exit code %d, %v", exit, err)
		}
		active, waiting = waiting, s.receive()
	}
	n := s.equal(s.first)
	s.noAlarm(active)
	t.Logf("%d files equal over %d hand-overs", n, rounds)
}
