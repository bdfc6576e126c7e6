package replication

import (
	"strings"
	"testing"
	"time"
)

// TestDamagedTail: a piece of a tail that can't be read any more, whichever it is, is replaced. It neither stops archiving
// nor lets anything be acknowledged that is not durable.
func TestDamagedTail(t *testing.T) {
	for name, choose := range map[string]func(r *rig) string{
		"first link":  func(r *rig) string { return r.ledger.keys("/tail/")[0] },
		"middle link": func(r *rig) string { return r.ledger.keys("/tail/")[10] },
		"last link":   func(r *rig) string { keys := r.ledger.keys("/tail/"); return keys[len(keys)-1] },
		"roll-up":     func(r *rig) string { return r.ledger.keys("upto-")[0] },
	} {
		t.Run(name, func(t *testing.T) {
			links := 20
			if name == "roll-up" {
				links = 40
			}
			bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
				wal := r.server.wal
				r.run()
				for range links {
					r.awaitAck(r.server.write(func(w *walWriter) { w.record(500) }))
				}
				r.end()
				bad := choose(r)
				r.ledger.Corrupt(bad, func(p []byte) []byte { p[20] ^= 1; return p })
				r.ledger.forget(bad)
				again := newRig(t, r.server, r.ledger, nil)
				again.run()
				time.Sleep(5 * time.Second)
				again.awaitAck(wal.end())
				again.expectArchived(wal.start, wal.end())
				if n := len(r.ledger.keys("upto-")); n > 3 {
					t.Errorf("%d roll-ups", n)
				}
				again.awaitAck(r.server.write(func(w *walWriter) { w.record(500) }))
				again.expectArchived(wal.start, wal.end())
				again.awaitAck(r.server.write((*walWriter).switchSegment))
				again.end()
				again.expectArchived(wal.start, wal.end())
				if err := again.receiver.Status().LastError; err != "" {
					t.Errorf("error %q", err)
				}
				time.Sleep(time.Second)
				if keys := r.ledger.Keys(); strings.Contains(strings.Join(keys, " "), "/tail/") {
					t.Errorf("something of the tail is left: %v", keys)
				}
			})
		})
	}
}
