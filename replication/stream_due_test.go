package replication

import (
	"testing"
	"time"

	"walkeep/segment"
	"walkeep/uploader"
)

// A connection that is lost again and again must not begin the wait for a link anew each time: what counts is when the
// server was first heard to have flushed a byte, by whichever stream.
func TestDueCountsFromBeforeTheStream(t *testing.T) {
	const start, size = segment.LSN(5 << 20), 1 << 20
	begin := time.Now()
	ends := &series{}
	ends.add(start+100, begin, 0) // an earlier stream's word
	s := &Stream{
		options:  StreamOptions{TailInterval: time.Second, TailBytes: 8 << 20},
		progress: newProgress(start, ends), lane: &uploader.Lane{},
	}
	link := &tail{stream: s, linker: s.lane.Linker()}
	open := openSegment{name: segment.NameAt(1, start, size), buf: &uploader.Buffer{Bytes: make([]byte, size)}, checked: 100}

	again := begin.Add(900 * time.Millisecond) // the next stream's beginning
	s.progress.heard(start+100, start+100, again)
	s.progress.checked(start+100, again)
	if n, wait := link.due(open, 0, again); n != 0 || wait != 100*time.Millisecond {
		t.Errorf("0.9 s after the server was heard: %d bytes due, wait %s; want none, 100 ms", n, wait)
	}
	if n, _ := link.due(open, 0, again.Add(100*time.Millisecond)); n != 100 {
		t.Errorf("1 s after the server was heard: %d bytes due, want 100", n)
	}

	// Far behind, whole segments follow at once: what the server has flushed long ago is no reason for links.
	s.progress.heard(start+100, start+2*catchingUp, again)
	if n, wait := link.due(open, 0, again.Add(100*time.Millisecond)); n != 0 || wait != 900*time.Millisecond {
		t.Errorf("catching up: %d bytes due, wait %s; want none, 900 ms", n, wait)
	}
}
