package replication

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"walkeep/segment"
	"walkeep/storage"
)

// goldenTrace is what a small run does to the world, in order.
const goldenTrace = `
put cluster/7301234567890123456.json
put note/00000001-00000000/begin-0000000000100000.json
START_REPLICATION SLOT "walkeep" PHYSICAL 0/100000 TIMELINE 1
acknowledge 0/100000
put wal/00000001-00000000/00000000/000000010000000000000001
acknowledge 0/200000
-- one second later
put tail/00000001-00000000/000000010000000000000002/00000000
acknowledge 0/200BE8
-- two records
put tail/00000001-00000000/000000010000000000000002/00000be8
acknowledge 0/200E78
-- connection lost
START_REPLICATION SLOT "walkeep" PHYSICAL 0/200000 TIMELINE 1
-- segment ends
put wal/00000001-00000000/00000000/000000010000000000000002
acknowledge 0/300000
delete tail/00000001-00000000/000000010000000000000002/00000be8
delete tail/00000001-00000000/000000010000000000000002/00000000
-- server shuts down
put tail/00000001-00000000/000000010000000000000003/00000000
acknowledge 0/3000A0
-- stopped
`

// TestGoldenTrace: the order of side effects.
func TestGoldenTrace(t *testing.T) {
	wal := newWAL(oneMB)
	wal.fill(wal.start+100_000, 0)
	wal.switchSegment()
	wal.record(3000 - 16)
	var (
		mu    sync.Mutex
		trace []string
	)
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		trace = append(trace, strings.ReplaceAll(fmt.Sprintf(format, args...), " 7301234567890123456/", " "))
	}
	bubble(t, wal, nil, func(t *testing.T, r *rig) {
		r.ledger.onPut = func(key string) { note("put %s", key) }
		r.ledger.onDrop = func(keys []string) {
			for _, key := range keys {
				note("delete %s", key)
			}
		}
		r.server.onStart = func(command string) { note("%s", command) }
		var last segment.LSN
		r.onAck = func(flush segment.LSN) {
			if flush > last { // a new stream begins below, for how many statuses is up to the scheduler
				note("acknowledge %s", flush)
				last = flush
			}
		}
		for _, op := range []string{storage.OpGet, storage.OpList, storage.OpDelete} {
			r.faulty.SetLatency(op, 10*time.Millisecond) // else what happens at the same time has no order
		}
		step := func(what string, act func()) {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			note("-- %s", what)
			act()
		}
		r.run()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		note("-- one second later")
		step("two records", func() { r.server.write(func(w *walWriter) { w.record(300); w.record(300) }) })
		step("connection lost", r.server.cut)
		step("segment ends", func() { r.server.write((*walWriter).switchSegment) })
		step("server shuts down", func() {
			r.server.write(func(w *walWriter) { w.record(96) })
			r.server.do(func() { r.server.stopping = true })
		})
		step("stopped", r.end)
	})
	if diff := cmp.Diff(strings.TrimSpace(goldenTrace), strings.Join(trace, "\n")); diff != "" {
		t.Errorf("order of side effects (-want +got):\n%s", diff)
	}
}
