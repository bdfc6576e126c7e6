package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// plan is what a session streams.
type plan struct {
	Decision
	standby bool
	end     segment.LSN // of the branch's timeline on this server; 0 if it goes on
}

// refusedError: this server must not be archived from, or not yet.
type refusedError struct {
	state  State
	reason string
}

func (e *refusedError) Error() string { return e.reason }

// reconcile compares the server with the repository, makes the histories of all its timelines durable, makes sure of the
// slot, and says what to stream.
func (r *Receiver) reconcile(ctx context.Context, conn *Conn, sys System) (plan, error) {
	p := plan{}
	if err := r.letSettle(ctx); err != nil {
		return p, err
	}
	standby, err := conn.InRecovery(ctx)
	if err != nil {
		return p, err
	}
	server := Position{Flush: sys.Flush, Standby: standby}
	if server.Ancestry, err = r.ancestry(ctx, conn, sys.Timeline); err != nil {
		return p, err
	}
	slot, err := r.ensureSlot(ctx, conn)
	if err != nil {
		return p, err
	}
	archived, err := r.archived(ctx)
	if err != nil {
		return p, err
	}
	p.Decision, p.standby = Reconcile(server, archived, r.catalog.SegmentSize()), standby
	if standby && r.lane == nil && len(archived) > 0 && len(r.options.Server.Hosts()) > 1 {
		if err := r.yield(ctx); err != nil {
			return p, err
		}
	}
	switch p.Action {
	case ActionRefuse:
		return p, &refusedError{StateFork, p.Reason}
	case ActionWait:
		return p, &refusedError{StateConnecting, p.Reason}
	case ActionBegin:
		p.Branch, p.Start = r.begin(server, slot)
	}
	if r.lane == nil || r.lane.Lineage() != p.Branch.Lineage || r.lane.Err() != nil {
		r.lane, r.boundary = r.uploader.Lane(p.Branch.Lineage), nil
	} else if next, ok := r.lane.Next(); ok && next > p.Start {
		p.Start, p.Verify, p.Parent = next, 0, segment.Lineage{} // what was handed over is on its way
	}
	p.end, _ = server.current().end(p.Branch.Lineage.Timeline)
	if limit := max(sys.Flush, p.end); p.Start > limit {
		return p, &refusedError{StateConnecting, fmt.Sprintf("the server's WAL ends at %s, we have received it up to %s: waiting until it has caught up",
			limit, p.Start)}
	}
	return p, r.noteBegin(ctx, p, archived)
}

// letSettle waits, when a timeline has ended or a gap was recorded, until what was received is durable: then the repository
// can be asked.
func (r *Receiver) letSettle(ctx context.Context) error {
	if !r.settle || r.lane == nil {
		r.settle = false
		return nil
	}
	if err := r.lane.WaitIdle(ctx); err != nil {
		return err
	}
	r.settle, r.lane = false, nil
	return nil
}

// ancestry returns the branch of each of the server's timelines, oldest first, and makes their histories durable.
func (r *Receiver) ancestry(ctx context.Context, conn *Conn, t segment.Timeline) ([]Branch, error) {
	first, err := segment.NewLineage(1, nil)
	if err != nil {
		return nil, err
	}
	if t == 1 {
		return []Branch{{Lineage: first}}, nil
	}
	content, err := conn.History(ctx, t)
	if err != nil {
		return nil, err
	}
	forks, err := segment.ParseHistory(content)
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", uint32(t), err)
	}
	var all []Branch
	for i, f := range forks {
		b := Branch{Lineage: first, Forks: forks[:i:i]}
		if f.Timeline != 1 {
			if b.Lineage, err = r.ancestorHistory(ctx, conn, f.Timeline, content); err != nil {
				return nil, err
			}
		}
		all = append(all, b)
	}
	current, err := r.catalog.PutHistory(ctx, t, content)
	return append(all, Branch{Lineage: current, Forks: forks}), err
}

// ancestorHistory makes the history of an ancestor durable. A server that no longer has the file has its content all the
// same: each history begins with its parent's (access/transam/timeline.c: writeTimeLineHistory).
func (r *Receiver) ancestorHistory(ctx context.Context, conn *Conn, t segment.Timeline, child []byte) (segment.Lineage, error) {
	content, err := conn.History(ctx, t)
	if errors.Is(err, ErrNoHistory) {
		content, err = historyOf(t, child)
	}
	if err != nil {
		return segment.Lineage{}, err
	}
	return r.catalog.PutHistory(ctx, t, content)
}

// historyOf returns the part of a descendant's history that is the history of t: what is before the line of t, without the
// line feed by which the server sets the line it adds apart (access/transam/timeline.c: writeTimeLineHistory).
func historyOf(t segment.Timeline, child []byte) ([]byte, error) {
	rest := child
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		fields := strings.Fields(string(line))
		if len(fields) > 0 && fields[0] == fmt.Sprint(uint32(t)) {
			before := child[:len(child)-len(rest)]
			if bytes.HasSuffix(before, []byte("\n\n")) {
				before = before[:len(before)-1]
			}
			if len(before) > 0 {
				return before, nil
			}
			break
		}
		rest = after
	}
	return nil, fmt.Errorf("history of timeline %d: the server has none, and it can't be made from its descendant's", uint32(t))
}

// archived asks the repository what it holds.
func (r *Receiver) archived(ctx context.Context) ([]Archived, error) {
	branches, err := r.catalog.Branches(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Archived, 0, len(branches))
	for _, b := range branches {
		all = append(all, Archived{Branch: Branch{Lineage: b.Lineage, Forks: b.Forks}, Begin: b.Begin, Frontier: b.Frontier, Abandoned: b.Abandoned})
	}
	return all, nil
}

// begin is where the archive begins if it holds nothing of the server's ancestry: at what the slot keeps, on the timeline
// which that lies on; before PostgreSQL 15 and without an ordinary connection where the server is. The slot was made before.
func (r *Receiver) begin(server Position, slot Slot) (Branch, segment.LSN) {
	size := r.catalog.SegmentSize()
	if slot.RestartLSN == 0 {
		return server.current(), size.Start(server.Flush)
	}
	for _, b := range server.Ancestry {
		if end, ended := server.current().end(b.Lineage.Timeline); ended && slot.RestartLSN < end {
			return b, size.Start(slot.RestartLSN)
		}
	}
	return server.current(), size.Start(slot.RestartLSN)
}

// noteBegin notes where the archive of a lineage begins, before the first byte of it is received.
func (r *Receiver) noteBegin(ctx context.Context, p plan, archived []Archived) error {
	if _, known := find(archived, p.Branch.Lineage); known {
		return nil
	}
	return r.catalog.Begin(ctx, p.Branch.Lineage, p.Start, time.Now())
}

// parentBytes returns what the parent timeline holds of the segment in which its child begins, up to the fork.
func (r *Receiver) parentBytes(ctx context.Context, d Decision) ([]byte, error) {
	if d.Verify == 0 {
		return nil, nil
	}
	n := segment.NameAt(d.Parent.Timeline, d.Start, r.catalog.SegmentSize())
	raw, err := r.catalog.Segment(ctx, d.Parent, n, nil)
	if errors.Is(err, storage.ErrNotFound) {
		raw, err = r.catalog.Tail(ctx, d.Parent, n, nil)
	}
	if catalog.IsBrokenTail(err) {
		raw, err = r.catalog.Segment(ctx, d.Parent, n, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("read the parent timeline's last segment: %w", err)
	}
	return raw[:min(len(raw), int(d.Verify-d.Start))], nil
}
