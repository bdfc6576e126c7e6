package restore_test

import (
	"fmt"
	"testing"
	"time"

	"walkeep/integration/postgres"
)

// S39, by hand: base backup, load, kill -9 of server and receiver, recovery to the end of the archive.
func TestS39RecoveryToTheEnd(t *testing.T) {
	for _, major := range majors() {
		for _, synchronous := range []string{"", "walkeep"} {
			t.Run(fmt.Sprintf("%d %s", major, synchronous), func(t *testing.T) {
				ctx := limit(t, 3*time.Minute)
				l := newLab(t, ctx, postgres.Options{Major: major, Config: map[string]string{"synchronous_standby_names": synchronous}}, "")
				l.startLoad([loadSessions]int{})
				safe := l.more(300) // several segments
				l.more(10)
				l.lose()
				if synchronous != "" {
					safe = l.load.rows()
				}
				s := l.recovering(l.fetch()+wrapper, nil)
				l.opens(s)
				holds(t, ctx, s, safe, l.load.rows())
			})
		}
	}
}
