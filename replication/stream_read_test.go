package replication

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"walkeep/segment"
)

// TestS10MessagesOfAnySize: a message that crosses segments, one of a single byte, one that ends with its segment: everything
// arrives at its place (scenario S10).
func TestS10MessagesOfAnySize(t *testing.T) {
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

// FuzzWire: whatever a server sends is taken apart or refused, without reading beyond a message or taking much memory for it.
func FuzzWire(f *testing.F) {
	be := binary.BigEndian
	message := func(kind byte, body ...byte) []byte {
		return append(be.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
	}
	data := append([]byte{'w'}, make([]byte, 24+8)...)
	keepalive := append([]byte{'k'}, make([]byte, 17)...)
	row := []byte{0, 2, 0, 0, 0, 1, '2', 0, 0, 0, 3, '0', '/', '1'}
	f.Add(bytes.Join([][]byte{message('W', 0, 0, 0), message('d', data...), message('d', keepalive...), message('c')}, nil))
	f.Add(bytes.Join([][]byte{message('T'), message('D', row...), message('C', 'x', 0), message('C', 'x', 0), message('Z', 'I')}, nil))
	f.Add(message('E', 'S', 'F', 0, 'C', '5', '7', 'P', '0', '1', 0, 0))
	f.Add(message('N', 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, begin := range []bool{true, false} {
			in := bytes.NewReader(p)
			w := &wire{in: bufio.NewReader(in), started: !begin}
			if begin {
				if _, err := w.awaitCopy(); err != nil {
					continue
				}
			}
			for range len(p) {
				e, err := w.next()
				if err != nil {
					break
				}
				if e.kind == 0 || e.length < 0 || e.length > maxXLogData || e.kind != eventData && e.length != 0 {
					t.Fatalf("event %+v", e)
				}
				if e.kind == eventSwitch && e.next == 0 {
					t.Fatal("timeline 0")
				}
				if w.payload(make([]byte, e.length)) != nil {
					break
				}
			}
		}
	})
}
