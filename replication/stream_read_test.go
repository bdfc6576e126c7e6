package replication

import (
	"math/rand/v2"
	"testing"

	"walkeep/segment"
)

// TestMessagesOfAnySize: a message that crosses segments, one of a single byte, one that ends with its segment: everything
// arrives at its place (scenario S10).
func TestMessagesOfAnySize(t *testing.T) {
	for name, piece := range map[string]func(segment.LSN) int{
		"128 kB, over segment boundaries": func(segment.LSN) int { return maxSend - 4096 },
		"a whole segment and more":        func(segment.LSN) int { return 1<<20 - 300 },
		"one byte near boundaries": func(from segment.LSN) int {
			if at := oneMB.Offset(from); at < 100 || at >= 1<<20-100 {
				return 1
			} else {
				return min(50_000, 1<<20-100-at)
			}
		},
		"random": func(segment.LSN) int { return 1 + rand.IntN(20_000) },
	} {
		t.Run(name, func(t *testing.T) {
			wal := newWAL(oneMB)
			wal.fill(wal.start+3<<20, 5000)
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.piece = piece
				r.run()
				r.awaitAck(wal.end())
				end := r.server.write(func(w *walWriter) { w.record(100); w.record(20_000); w.record(30) })
				r.awaitAck(end)
				r.end()
				r.expectArchived(wal.start, end)
				if err := r.receiver.Status().LastError; err != "" {
					t.Errorf("error %q", err)
				}
			})
		})
	}
}
