package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walkeep/segment"
)

// slowHosts is how long hosts that have not answered yet are waited for once one has.
const slowHosts = time.Second

// candidate is a host that was asked.
type candidate struct {
	conn *Conn
	sys  System
	rank hostRank
	err  error
}

// connect opens a connection to the host that is farthest ahead: by timeline, then a primary before a standby, then by
// position. All hosts are asked at the same time; those that are dead delay nothing for long.
func (r *Receiver) connect(ctx context.Context) (*Conn, System, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hosts := r.options.Server.Hosts()
	answers := make(chan candidate, len(hosts))
	for _, host := range hosts {
		go func() { answers <- r.ask(ctx, host) }()
	}
	var best candidate
	var failures []error
	var late <-chan time.Time
	waiting := len(hosts)
	for ; waiting > 0; waiting-- {
		c, ok := next(answers, late)
		if !ok {
			break
		}
		if c.err != nil {
			failures = append(failures, c.err)
			continue
		}
		if late == nil {
			late = time.After(slowHosts)
		}
		if best.conn == nil || best.rank.less(c.rank) {
			best, c = c, best
		}
		if c.conn != nil {
			_ = c.conn.Close(ctx)
		}
	}
	cancel()
	discard(answers, waiting)
	if best.conn == nil {
		return nil, System{}, errors.Join(failures...)
	}
	return best.conn, best.sys, nil
}

// next waits for an answer; ok is false when it is late.
func next(answers <-chan candidate, late <-chan time.Time) (c candidate, ok bool) {
	select {
	case c = <-answers:
		return c, true
	case <-late:
		return candidate{}, false
	}
}

// discard closes what comes too late.
func discard(answers <-chan candidate, n int) {
	for range n {
		if c := <-answers; c.conn != nil {
			_ = c.conn.Close(context.Background())
		}
	}
}

// ask connects to one host and finds out where it is.
func (r *Receiver) ask(ctx context.Context, host Host) candidate {
	conn, err := Connect(ctx, r.options.Server, host)
	if err != nil {
		return candidate{err: err}
	}
	sys, rank, err := r.rankHost(ctx, conn)
	if err == nil && r.catalog != nil && len(r.options.Server.Hosts()) > 1 && sys.ID != r.catalog.SystemID() {
		err = fmt.Errorf("%s: it has system identifier %d, not %d: another cluster answers there", host, sys.ID, r.catalog.SystemID())
	}
	if err != nil {
		_ = conn.Close(ctx)
		return candidate{err: err}
	}
	return candidate{conn: conn, sys: sys, rank: rank}
}

// hostRank orders the servers of one cluster.
type hostRank struct {
	followed bool // nobody has given up the server's lineage
	timeline segment.Timeline
	primary  bool
	flush    segment.LSN
}

func (a hostRank) less(b hostRank) bool {
	switch {
	case a.followed != b.followed:
		return b.followed
	case a.timeline != b.timeline:
		return a.timeline < b.timeline
	case a.primary != b.primary:
		return b.primary
	}
	return a.flush < b.flush
}

func (r *Receiver) rankHost(ctx context.Context, conn *Conn) (System, hostRank, error) {
	sys, err := conn.Identify(ctx)
	if err != nil {
		return sys, hostRank{}, err
	}
	standby, err := conn.InRecovery(ctx)
	if err != nil {
		return sys, hostRank{}, err
	}
	abandoned, err := r.abandoned(ctx, conn, sys)
	return sys, hostRank{followed: !abandoned, timeline: sys.Timeline, primary: !standby, flush: sys.Flush}, err
}

// abandoned reports whether the server's lineage was given up. It matters only where there is a choice of hosts, and is not
// known before the repository is open: Reconcile refuses such a server in any case.
func (r *Receiver) abandoned(ctx context.Context, conn *Conn, sys System) (bool, error) {
	if r.catalog == nil || sys.Timeline == 1 || len(r.options.Server.Hosts()) == 1 {
		return false, nil
	}
	content, err := conn.History(ctx, sys.Timeline)
	if err != nil {
		return false, err
	}
	l, err := segment.NewLineage(sys.Timeline, content)
	if err != nil {
		return false, err
	}
	return r.catalog.Abandoned(ctx, l)
}
