package replication

import (
	"context"
	"errors"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/uploader"
)

// catchingUp is how far behind the server's flush position we are when links are pointless: whole segments follow at once.
const catchingUp = 1 << 20

// tail is the state of link: the chain of the segment it works on.
type tail struct {
	stream   *Stream
	linker   *uploader.Linker
	name     segment.Name
	end      int  // of the chain, in bytes from the segment's beginning
	known    bool // end is right; else the repository has to be asked
	compared bool // the chain has been compared up to target
	target   int  // the chain found there, to be compared when so much is checked; -1: not yet asked
	healed   int  // a roll-up up to here was put because something before was damaged
	plan     rollups
	roller   *roller
	commits  uint64 // checked when step began
	gather   gathering
}

// link makes the tail durable: one link at a time, in order, until ctx ends.
func (s *Stream) link(ctx context.Context) error {
	t := &tail{stream: s, linker: s.lane.Linker(), roller: &roller{lane: s.lane, log: s.log}}
	defer t.linker.Wait()
	defer t.roller.running.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		moved := s.mark.Moved() // a segment behind which others wait may have become durable
		wait, err := t.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-s.window.kicked:
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// idle is how long step waits when only a kick can change anything.
const idle = time.Hour

// step does what is due, until nothing is, and returns how long to wait at most.
func (t *tail) step(ctx context.Context) (wait time.Duration, err error) {
	for {
		t.commits = t.stream.progress.commitsSoFar() // before first: a link may carry more, never less
		open, demanded, ok := t.stream.window.first(t.stream.mark.LSN())
		if !ok {
			return idle, nil
		}
		again, wait, err := t.advance(ctx, open, demanded)
		open.buf.Release()
		if err != nil || !again {
			return wait, err
		}
	}
}

// advance does one thing for the segment: ask for its chain, compare it, or put a link. again is false if there is nothing to
// do before something changes, or wait is over.
func (t *tail) advance(ctx context.Context, open openSegment, demanded segment.LSN) (again bool, wait time.Duration, err error) {
	if open.name != t.name {
		t.begin(open.name)
	}
	if !t.known {
		return t.synchronize(ctx, open)
	}
	due, wait := t.due(open, demanded, time.Now())
	if due == 0 {
		return false, wait, nil
	}
	from := open.name.Start() + segment.LSN(t.end)
	err = t.linker.Put(ctx, open.name, from, open.buf.Bytes[t.end:t.end+due])
	if errors.Is(err, uploader.ErrTaken) {
		t.known, t.compared, t.target = false, false, -1
		return true, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	t.end += due
	t.gather.linked(t.commits, time.Now())
	t.stream.mark.Durable(from, from+segment.LSN(due))
	t.roller.linked(ctx, &t.plan, open, t.end)
	return true, 0, nil
}

// begin turns to another segment. Only the stream's first one can have a tail already, which check compares.
func (t *tail) begin(n segment.Name) {
	t.name, t.end, t.target, t.healed, t.plan = n, 0, 0, 0, rollups{}
	t.compared, t.known = true, true
	if n.Start() != t.stream.start {
		return
	}
	for _, piece := range t.stream.tail {
		t.target = max(t.target, int(piece.Statement.To-n.Start()))
	}
	if t.stream.tailDamaged {
		t.compared, t.target = false, -1
	}
	t.known = t.target == 0
}

// due returns how many bytes to link now, or after which time to ask again.
func (t *tail) due(open openSegment, demanded segment.LSN, now time.Time) (n int, wait time.Duration) {
	n = open.checked - t.end
	pos := open.name.Start() + segment.LSN(t.end)
	options := &t.stream.options
	synchronous := t.stream.synchronous.Load()
	if n <= 0 || open.checked == len(open.buf.Bytes) && !synchronous {
		return 0, idle // a full segment is on its way by itself
	}
	at, flushed, ok := t.stream.progress.since(pos)
	caughtUp := t.stream.progress.behind() <= catchingUp
	if caughtUp {
		at = flushed // connections that are lost again and again must not begin the wait anew each time
	}
	age := now.Sub(at)
	switch {
	case demanded > pos:
	case caughtUp && synchronous && t.gather.wait(t.commits, t.linker.Median(), now) > 0:
		return 0, t.gather.wait(t.commits, t.linker.Median(), now)
	case caughtUp && (synchronous || n >= options.TailBytes):
	case ok && age >= t.patience():
	default:
		return 0, t.patience() - age
	}
	return min(n, uploader.MaxLink), 0
}

// patience is how long a byte waits for its link. TailInterval is meant to end with the byte durable, so what storage takes of
// late is taken off, up to half of it.
func (t *tail) patience() time.Duration {
	interval := t.stream.options.TailInterval
	return interval - min(max(t.linker.Median(), t.stream.lane.Took()), interval/2)
}

// synchronize finds out what tail the segment has already, and relies on it when it has been compared with our bytes.
func (t *tail) synchronize(ctx context.Context, open openSegment) (again bool, wait time.Duration, err error) {
	c, lineage := t.stream.catalog, t.stream.lane.Lineage()
	if t.target < 0 {
		if t.target, err = c.TailEnd(ctx, lineage, open.name); catalog.IsBrokenTail(err) {
			t.target = -1
			return false, time.Second, nil // somebody is deleting it
		}
		if err != nil {
			return false, 0, err
		}
	}
	if open.checked < t.target {
		return false, idle, nil
	}
	t.stream.lane.Linked(open.name)
	end := t.target
	if !t.compared {
		end, err = c.CompareTail(ctx, lineage, open.name, open.buf.Bytes[:open.checked])
	}
	switch {
	case catalog.IsBrokenTail(err):
		t.target = -1
		return false, time.Second, nil
	case catalog.IsDamaged(err):
		return t.heal(ctx, open, err)
	case err != nil:
		return false, 0, err
	}
	t.end, t.known = end, true
	t.plan = rollups{}
	if end > 0 {
		t.plan.links = rollupFanout // there may be many links: roll them up with the next one
	}
	t.stream.mark.Durable(open.name.Start(), open.name.Start()+segment.LSN(end))
	return true, 0, nil
}

// heal puts a roll-up of the whole segment as far as it has come, because a piece of its tail can't be read any more: readers
// begin with the newest roll-up and then have no need of the damaged piece.
func (t *tail) heal(ctx context.Context, open openSegment, damage error) (again bool, wait time.Duration, err error) {
	if open.checked <= t.healed || t.stream.progress.behind() > 0 {
		return false, t.stream.options.TailInterval, nil
	}
	t.stream.log.Error("the tail of a segment is damaged, replacing it", "segment", open.name.String(), "error", damage)
	if err := t.stream.lane.Rollup(ctx, open.name, open.name.Start(), open.buf.Bytes[:open.checked]); err != nil {
		return false, 0, err
	}
	t.healed, t.target = open.checked, -1
	return true, 0, nil
}
